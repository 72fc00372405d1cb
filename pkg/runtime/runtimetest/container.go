package runtimetest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/transfer"
)

// Program is what an image does. It ends at the latest when ctx does, which is SIGTERM.
type Program func(ctx context.Context, c Container) (status int)

// Container is what a program sees of its container.
type Container struct {
	Name  string
	Env   map[string]string
	Args  []string          // command and arguments
	Files map[string][]byte // of mounted Secrets, by absolute path
	// Mounts are the directories that stand for mounted volumes, by mount path.
	Mounts map[string]string
	Output io.Writer
}

// Path is where a path of the container is outside of it; "" for what is not in a volume.
func (c *Container) Path(inside string) string {
	for _, mount := range c.longest() {
		if rest, ok := strings.CutPrefix(inside, mount); ok && (rest == "" || rest[0] == '/') {
			return filepath.Join(c.Mounts[mount], rest)
		}
	}
	return ""
}

// longest are the mount paths, those inside of others first.
func (c *Container) longest() []string {
	var out []string
	for mount := range c.Mounts {
		out = append(out, mount)
	}
	sort.Slice(out, func(i, j int) bool { return len(out[i]) > len(out[j]) })
	return out
}

func (c *Cluster) container(p *livePod, spec *corev1.Container, dir string) (Container, error) {
	in := Container{Name: spec.Name, Env: map[string]string{}, Files: map[string][]byte{}, Mounts: map[string]string{}}
	in.Args = append(append(in.Args, spec.Command...), spec.Args...)
	for _, e := range spec.Env {
		in.Env[e.Name] = e.Value
	}
	for _, m := range spec.VolumeMounts {
		at := filepath.Join(dir, m.Name)
		in.Mounts[m.MountPath] = at
		for _, v := range p.Spec.Volumes {
			if v.Name != m.Name || v.Secret == nil {
				continue
			}
			files, err := os.ReadDir(at)
			if err != nil {
				return in, err
			}
			for _, f := range files {
				data, err := os.ReadFile(filepath.Join(at, f.Name()))
				if err != nil {
					return in, err
				}
				in.Files[m.MountPath+"/"+f.Name()] = data
			}
		}
	}
	return in, nil
}

// Pivt is the pivt image, as far as pods of chaincode need it: "launcher fetch" and
// "launcher return".
func Pivt(ctx context.Context, c Container) int {
	if err := pivt(ctx, c); err != nil {
		fmt.Fprintf(c.Output, "Error: %v\n", err)
		return 1
	}
	return 0
}

func pivt(ctx context.Context, c Container) error {
	if len(c.Args) < 3 || c.Args[0] != "/usr/local/bin/pivt" || c.Args[1] != "launcher" {
		return fmt.Errorf("unknown command %q", c.Args)
	}
	flags := flag.NewFlagSet(c.Args[2], flag.ContinueOnError)
	flags.SetOutput(c.Output)
	file := flags.String("ticket", "", "")
	to, from, ready := flags.String("to", "", ""), flags.String("from", "", ""), flags.String("ready", "", "")
	stay := flags.Bool("stay", false, "")
	if err := flags.Parse(c.Args[3:]); err != nil {
		return err
	}
	var ticket transfer.Ticket
	data, err := os.ReadFile(c.Path(*file))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &ticket); err != nil {
		return err
	}
	switch c.Args[2] {
	case "fetch":
		if err := transfer.Fetch(ctx, ticket, c.Path(*to), transfer.DefaultLimits()); err != nil || *ready == "" {
			return err
		}
		if err := os.WriteFile(c.Path(*ready), nil, 0o600); err != nil || !*stay {
			return err
		}
		<-ctx.Done()
		return nil
	case "return":
		return transfer.Return(ctx, ticket, c.Path(*from), transfer.DefaultLimits())
	}
	return fmt.Errorf("unknown command %q", c.Args[2])
}

// Shell runs what the container's command gives to /bin/sh, with the real one. Paths in
// volumes, in the script and in variables, become those outside; whatever else an image
// would have is the test's to put in PATH.
func Shell(ctx context.Context, c Container) int {
	if len(c.Args) != 3 || c.Args[0] != "/bin/sh" || c.Args[1] != "-c" {
		fmt.Fprintf(c.Output, "this image has a shell only, not %q\n", c.Args)
		return 127
	}
	var pairs []string
	for _, mount := range c.longest() {
		pairs = append(pairs, mount, c.Mounts[mount])
	}
	outside := strings.NewReplacer(pairs...)
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", outside.Replace(c.Args[2]))
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
	for name, value := range c.Env {
		cmd.Env = append(cmd.Env, name+"="+outside.Replace(value))
	}
	cmd.Dir = c.Path("/tmp")
	cmd.Stdout, cmd.Stderr = c.Output, c.Output
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(c.Output, err)
		return 128
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	return 137
}

// WithProgram is an image that runs a built chaincode: it waits for the code as the command
// of such containers does, and then start is called. Path is where the code is.
func WithProgram(start Program) Program {
	return func(ctx context.Context, c Container) int {
		for {
			if _, err := os.Stat(c.Path("/run/pivt/ready")); err == nil {
				return start(ctx, c)
			} else if !os.IsNotExist(err) {
				fmt.Fprintln(c.Output, err)
				return 1
			}
			if !sleep(ctx, backOff/3) {
				return 143
			}
		}
	}
}

// Tree reads a directory of a volume, as path: content.
func Tree(dir string) (map[string]string, error) {
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		out[path] = string(data)
		return err
	})
	return out, err
}

type liveContainer struct {
	log            []logLine
	started, ended bool
}

type logLine struct {
	at   time.Time
	text string
}

// logWriter is a container's log file. Several lines may have the same time stamp, as on
// machines with a coarse clock.
type logWriter struct {
	c    *Cluster
	p    *livePod
	name string
	rest []byte
}

var _ io.Writer = (*logWriter)(nil)

func (l *logWriter) Write(b []byte) (int, error) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	in := l.p.live(l.name)
	if in.ended || l.p.gone {
		return 0, io.ErrClosedPipe
	}
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			break
		}
		in.log = append(in.log, logLine{time.Now().Truncate(time.Millisecond), string(line)})
		l.rest = rest
	}
	l.c.changed.Broadcast()
	return len(b), nil
}

// end closes the log and returns its tail, which FallbackToLogsOnError puts into the status.
func (l *logWriter) end() string {
	const lines, size = 80, 2048
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	in := l.p.live(l.name)
	if len(l.rest) > 0 {
		in.log = append(in.log, logLine{time.Now(), string(l.rest)})
	}
	in.ended = true
	l.c.changed.Broadcast()
	var out []string
	for _, line := range in.log[max(0, len(in.log)-lines):] {
		out = append(out, line.text)
	}
	text := strings.Join(out, "\n")
	return text[max(0, len(text)-size):]
}
