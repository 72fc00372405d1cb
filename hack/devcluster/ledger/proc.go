package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stat is what the ledger needs of /proc/<pid>/stat.
type stat struct {
	state byte
	start uint64
}

// parseStat reads a line of /proc/<pid>/stat. The second field is the command in parentheses and may itself
// hold spaces and parentheses, so counting starts after the last one.
func parseStat(line []byte) (stat, error) {
	end := bytes.LastIndexByte(line, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("no command in %q", line)
	}
	f := bytes.Fields(line[end+1:])
	const startTime = 22 - 3 // field 22, and f[0] is field 3
	if len(f) <= startTime {
		return stat{}, fmt.Errorf("only %d fields in %q", len(f)+2, line)
	}
	start, err := strconv.ParseUint(string(f[startTime]), 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("start time in %q: %w", line, err)
	}
	return stat{state: f[0][0], start: start}, nil
}

func readStat(pid int) (stat, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(line)
}

// bootID tells one boot of the machine from the next.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

// Running reports whether the very process of the record is alive.
func (r Record) Running() bool {
	if id, err := bootID(); err != nil || id != r.Boot {
		return false
	}
	s, err := readStat(r.PID)
	return err == nil && s.start == r.Start && s.state != 'Z'
}

// Signal sends sig to the process of the record, or nothing at all if that process is gone.
func (r Record) Signal(sig syscall.Signal) error {
	p, err := os.FindProcess(r.PID) // opens a pidfd: from here on the number cannot come to mean another process
	if err != nil {
		return err
	}
	defer p.Release()
	if !r.Running() {
		return nil
	}
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to %s (pid %d): %w", sig, r.Name, r.PID, err)
	}
	return nil
}

// Stop asks the processes to end and kills those that have not done so after grace.
func Stop(records []Record, grace time.Duration) error {
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, 10 * time.Second}} {
		var errs []error
		for _, r := range records {
			errs = append(errs, r.Signal(step.sig))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		if records = waitGone(records, step.wait); len(records) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%s (pid %d) does not end, not even by SIGKILL", records[0].Name, records[0].PID)
}

// waitGone returns those still running when the time is up.
func waitGone(records []Record, limit time.Duration) []Record {
	deadline := time.Now().Add(limit)
	for {
		var left []Record
		for _, r := range records {
			if r.Running() {
				left = append(left, r)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Of returns a record of a running process this program did not start itself but knows to be its own,
// such as a member of its control group.
func Of(name string, pid int) (Record, error) {
	s, err := readStat(pid)
	if err != nil {
		return Record{}, err
	}
	boot, err := bootID()
	return Record{Name: name, PID: pid, Start: s.start, Boot: boot}, err
}
