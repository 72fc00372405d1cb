package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// Record identifies one process for as long as the machine runs.
type Record struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

// Ledger is a file of records, one JSON object per line, in the order the processes were started.
type Ledger struct{ path string }

// At returns the ledger kept in the file.
func At(path string) *Ledger { return &Ledger{path: path} }

// Records returns everything ever started, dead or alive. A line cut short by a crash is dropped:
// the process it would have named is found through its control group.
func (l *Ledger) Records() ([]Record, error) {
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []Record
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r Record
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			all = append(all, r)
		}
	}
	return all, nil
}

// Command is a process to start.
type Command struct {
	Name string
	Path string
	Args []string
	// Env is the whole environment: a component must not depend on, or show, what its caller happens to have set.
	Env []string
	// Log receives both output streams.
	Log string
	// CgroupProcs is the cgroup.procs file the process enters before it becomes Path.
	CgroupProcs string
}

// ExecVerb is the first argument that makes this program call Exec.
const ExecVerb = "__exec"

// Start starts the command in its own session, so that it outlives this program, and records it.
func (l *Ledger) Start(c Command) (Record, error) {
	self, err := os.Executable()
	if err != nil {
		return Record{}, err
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return Record{}, err
	}
	defer log.Close()
	cmd := exec.Command(self, append([]string{ExecVerb, c.CgroupProcs, c.Path}, c.Args...)...)
	cmd.Env = c.Env
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return Record{}, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	// Reaping keeps a dead child from looking like a zombie for ever while this program still runs.
	go func() { _ = cmd.Wait() }()
	r, err := Of(c.Name, cmd.Process.Pid)
	if err != nil {
		return Record{}, fmt.Errorf("starting %s: it ended at once; see %s", c.Name, c.Log)
	}
	return r, l.Append(r)
}

// Append adds a record and makes sure it survives a crash.
func (l *Ledger) Append(r Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	// The empty line before it keeps a record whole when the one before was cut short.
	_, err = fmt.Fprintf(f, "\n%s\n", line)
	return errors.Join(err, f.Sync(), f.Close())
}

// Exec is what the freshly started copy of this program runs: it enters the control group and turns into the
// command, keeping its pid and start time. Entering before the exec means no child can ever be outside.
func Exec(args []string) error {
	if len(args) < 2 {
		return errors.New("exec needs a cgroup.procs file and a command")
	}
	if err := os.WriteFile(args[0], []byte("0"), 0o644); err != nil {
		return fmt.Errorf("entering the control group: %w", err)
	}
	return syscall.Exec(args[1], args[1:], os.Environ())
}
