package launcher_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pivt.io/pivt/pkg/launcher"
	"pivt.io/pivt/pkg/runtime/runtimetest"
)

// home is where the launcher is installed, as /opt/pivt is in a peer.
var home string

// TestMain is the launcher itself when called by one of its names: the tests run it as the
// peer does, as a process.
func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); name {
	case "detect", "build", "release", "run":
		os.Exit(launcher.Main(context.Background(), name, os.Args[1:], os.Getenv, os.Stderr))
	}
	if os.Getenv(fragile) != "" {
		os.Exit(fragilePeer())
	}
	os.Exit(tests(m))
}

func tests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "launcher")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	home = dir
	if err := launcher.Install(home); err != nil {
		panic(err)
	}
	return m.Run()
}

// peer calls the launcher as Fabric's package core/container/externalbuilder does.
type peer struct {
	t   *testing.T
	env map[string]string // the peer's own environment
	dir string

	mu  sync.Mutex
	log []string // what got into the peer's log
}

const nodeName = "hlf-peer--org1--peer0"

func newPeer(t *testing.T, c *runtimetest.Cluster) *peer {
	t.Helper()
	p := &peer{t: t, dir: t.TempDir(), env: map[string]string{
		"PATH":                 "/usr/bin:/bin",
		"TMPDIR":               os.TempDir(),
		"HOME":                 "/root",
		"CORE_PEER_ID":         nodeName,
		"CORE_PEER_LOCALMSPID": "Org1MSP",
		"CORE_PEER_TLS_KEY":    "not for the launcher",
		"PIVT_NODE":            nodeName,
		"PIVT_POD_NAME":        nodeName + "-0",
	}}
	if c != nil {
		p.env["PIVT_POD_UID"] = c.AddPeer(nodeName + "-0")
		for k, v := range c.Env() {
			p.env[k] = v
		}
	}
	return p
}

// propagated is what the chart tells the peer to pass on.
func propagated(t *testing.T) []string {
	t.Helper()
	chart := "../../charts/hlf-kube/templates/peer/statefulset.yaml"
	data, err := os.ReadFile(chart)
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`"propagateEnvironment":\[([^]{]*)`).FindSubmatch(data)
	if list == nil {
		t.Fatalf("%s does not propagate an environment", chart)
	}
	var names []string
	for _, quoted := range strings.Split(string(list[1]), ",") {
		names = append(names, strings.Trim(quoted, `" `))
	}
	return names
}

// command is one call. Nothing of the environment gets through but what Fabric lets.
func (p *peer) command(step string, args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command(filepath.Join(home, "bin", step), args...)
	cmd.Env = []string{}
	names := append(propagated(p.t), "LD_LIBRARY_PATH", "LIBPATH", "PATH", "TMPDIR")
	names = append(names, "PIVT_SERVICE_ACCOUNT") // only here: a test cannot mount /var/run/secrets
	for _, name := range names {
		if value, set := p.env[name]; set {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

// call runs a step to its end.
func (p *peer) call(step string, args ...string) error {
	p.t.Helper()
	cmd := p.command(step, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.read(stderr)
	return cmd.Wait()
}

// read is Fabric's reader: a scanner with its default of 64 KiB, which stops for good at
// a longer line.
func (p *peer) read(r io.Reader) {
	in := bufio.NewScanner(r)
	for in.Scan() {
		p.mu.Lock()
		p.log = append(p.log, in.Text())
		p.mu.Unlock()
	}
	if in.Err() != nil {
		p.mu.Lock()
		p.log = append(p.log, "PEER STOPPED READING: "+in.Err().Error())
		p.mu.Unlock()
	}
}

func (p *peer) logged() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.log...)
}

func (p *peer) hasLogged(text string) bool {
	return strings.Contains(strings.Join(p.logged(), "\n"), text)
}

// pkg is an unpacked package.
type pkg struct {
	metadata string
	files    map[string]string // below the source directory
}

// id is the package id: label and hash.
func (p pkg) id() string {
	var m struct{ Label string }
	_ = json.Unmarshal([]byte(p.metadata), &m)
	return m.Label + ":" + packageHash
}

const packageHash = "2c95a09dc49f512fbe8b8409cf98797fbb0a42455131ee2569678ec5af127e62"

const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

func imagePackage() pkg {
	return pkg{
		metadata: `{"type":"k8s","label":"My_CC.v1+rc"}`,
		files:    map[string]string{"image.json": `{"name":"example.com/cc","digest":"` + digest + `"}`},
	}
}

const image = "example.com/cc@" + digest

// install goes the way of an install up to the durable directory, which it returns.
func (p *peer) install(in pkg) (durable string, err error) {
	p.t.Helper()
	root, err := os.MkdirTemp(p.dir, "fabric")
	if err != nil {
		p.t.Fatal(err)
	}
	src, metadata, bld, release := filepath.Join(root, "src"), filepath.Join(root, "metadata"), filepath.Join(root, "bld"), filepath.Join(root, "release")
	for _, dir := range []string{src, metadata, bld, release} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			p.t.Fatal(err)
		}
	}
	write(p.t, src, in.files)
	write(p.t, metadata, map[string]string{"metadata.json": in.metadata})
	if err := p.call("detect", src, metadata); err != nil {
		return "", fmt.Errorf("detect: %w", err)
	}
	if err := p.call("build", src, metadata, bld); err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	if err := p.call("release", bld, release); err != nil {
		return "", fmt.Errorf("release: %w", err)
	}
	durable = filepath.Join(root, "externalbuilder", "builds", strings.ReplaceAll(in.id(), ":", "-"))
	for _, name := range []string{"release", "bld"} {
		if err := copyDir(filepath.Join(root, name), filepath.Join(durable, name)); err != nil {
			return "", fmt.Errorf("copying %s: %w", name, err)
		}
	}
	return durable, nil
}

// copyDir is how Fabric brings a build to its durable place (core/container/externalbuilder/copy.go):
// modes are kept, also those of directories it has yet to write into, and links have to be relative
// and to stay inside.
func copyDir(from, to string) error {
	return filepath.Walk(from, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case info.IsDir():
			return os.MkdirAll(target, info.Mode())
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(target, data, 0o600); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode())
		case info.Mode()&os.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if !filepath.IsLocal(filepath.Join(filepath.Dir(rel), link)) || filepath.IsAbs(link) {
				return fmt.Errorf("refusing to copy symlink %s -> %s", path, link)
			}
			return os.Symlink(link, target)
		}
		return fmt.Errorf("refusing to copy unsupported file %s with mode %o", path, info.Mode())
	})
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// launchInfo is chaincode.json.
type launchInfo struct {
	ID         string `json:"chaincode_id"`
	Address    string `json:"peer_address"`
	ClientCert string `json:"client_cert"`
	ClientKey  string `json:"client_key"`
	RootCert   string `json:"root_cert"`
	MSPID      string `json:"mspid"`
}

func info() launchInfo {
	return launchInfo{
		ID:      imagePackage().id(),
		Address: nodeName + ":7052", MSPID: "Org1MSP",
		ClientCert: "CERT", ClientKey: "-----BEGIN PRIVATE KEY-----\nKEY\n", RootCert: "ROOT",
	}
}

// process is a running chaincode as the peer sees it.
type process struct {
	*peer
	cmd    *exec.Cmd
	stderr io.ReadCloser
	ended  chan error
}

// launch starts run, reading its standard error unless it is told not to.
func (p *peer) launch(durable string, in launchInfo, read bool) *process {
	p.t.Helper()
	dir := p.t.TempDir()
	data, err := json.Marshal(in)
	if err != nil {
		p.t.Fatal(err)
	}
	write(p.t, dir, map[string]string{"chaincode.json": string(data)})
	return p.begin(p.command("run", filepath.Join(durable, "bld"), dir), read)
}

// start starts any step.
func (p *peer) start(step string, args ...string) *process {
	p.t.Helper()
	return p.begin(p.command(step, args...), true)
}

func (p *peer) begin(cmd *exec.Cmd, read bool) *process {
	p.t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	r := &process{peer: p, cmd: cmd, stderr: stderr, ended: make(chan error, 1)}
	go func() {
		if read {
			p.read(stderr) // Fabric waits for its end first
		}
		state, err := cmd.Process.Wait()
		if err == nil && !state.Success() {
			err = &exec.ExitError{ProcessState: state}
		}
		r.ended <- err
	}()
	p.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = stderr.Close() })
	return r
}

// wait returns how the process ended.
func (r *process) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(20 * time.Second):
		r.t.Fatalf("run does not end; the peer's log:\n%s", strings.Join(r.logged(), "\n"))
		return nil
	}
}

var errKilled = errors.New("killed: it did not end within 20 s of SIGTERM")

// stop is how the peer stops a chaincode, except that Fabric waits five seconds. A busy machine
// may need longer for the same, while a launcher that waits for something does not end.
func (r *process) stop() error {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	select {
	case err := <-r.ended:
		return err
	case <-time.After(20 * time.Second):
		_ = r.cmd.Process.Kill()
		return errKilled
	}
}

// fragile names the variable that turns the test program into a peer that only starts
// run, to be killed.
const fragile = "PIVT_TEST_FRAGILE_PEER"

func fragilePeer() int {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return 1
	}
	if err := cmd.Start(); err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, stderr)
	_ = cmd.Wait()
	return 0
}
