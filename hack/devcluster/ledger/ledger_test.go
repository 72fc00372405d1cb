package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets Start run this test program as it runs the real one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ExecVerb {
		fmt.Fprintln(os.Stderr, Exec(os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	fields := " S 1 100 100 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 8 0 987654 1000 200"
	cases := map[string]struct {
		reason string
		line   string
		want   stat
		fails  bool
	}{
		"Plain": {
			reason: "Field 22 is the start time.",
			line:   "100 (kubelet)" + fields,
			want:   stat{state: 'S', start: 987654},
		},
		"CommandWithParentheses": {
			reason: "A process chooses its own name; one that imitates the line's form must not shift the fields.",
			line:   "100 (a) R 1 (b)" + fields,
			want:   stat{state: 'S', start: 987654},
		},
		"CutShort": {
			reason: "Without a start time nothing may be signalled.",
			line:   "100 (kubelet) S 1 100",
			fails:  true,
		},
		"NoCommand": {
			reason: "A line that is no stat line is an error, not a zero.",
			line:   "gone",
			fails:  true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseStat([]byte(tc.line))
			if got != tc.want || (err != nil) != tc.fails {
				t.Errorf("%s\nparseStat: got %+v, %v; want %+v", tc.reason, got, err, tc.want)
			}
		})
	}
}

func TestStartRecordsAndStops(t *testing.T) {
	t.Parallel()
	l, c := sleeper(t)
	r, err := l.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Running() {
		t.Fatal("the process just started is not running")
	}
	waitFor(t, "the process turns into the command, keeping its pid", func() bool {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.PID))
		return err == nil && strings.HasPrefix(string(cmdline), c.Path+"\x00")
	})
	if sid, err := sessionOf(r.PID); err != nil || sid != r.PID {
		t.Errorf("session %d, %v; want one of its own (%d), or a closing terminal would end the cluster", sid, err, r.PID)
	}
	if entered, err := os.ReadFile(c.CgroupProcs); err != nil || string(entered) != "0" {
		t.Errorf("cgroup.procs holds %q, %v; want the process to have entered", entered, err)
	}
	records, err := l.Records()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Record{r}, records); diff != "" {
		t.Errorf("records: -want, +got:\n%s", diff)
	}
	if err := Stop(records, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if r.Running() {
		t.Error("the process runs although Stop said it ended")
	}
}

func TestSignalSparesStrangers(t *testing.T) {
	t.Parallel()
	l, c := sleeper(t)
	r, err := l.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		reason string
		change func(*Record)
	}{
		"AnotherStart": {"The number was handed out again: same pid, later start.", func(r *Record) { r.Start-- }},
		"AnotherBoot":  {"After a reboot both numbers may come back by chance.", func(r *Record) { r.Boot = "earlier" }},
	}
	for name, tc := range cases {
		stranger := r
		tc.change(&stranger)
		if stranger.Running() {
			t.Errorf("%s: %s\nRunning: got true, want false", name, tc.reason)
		}
		if err := Stop([]Record{stranger}, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !r.Running() {
			t.Fatalf("%s: %s\nthe process was signalled", name, tc.reason)
		}
	}
	if err := Stop([]Record{r}, 5*time.Second); err != nil {
		t.Error(err)
	}
	if err := r.Signal(syscall.SIGKILL); err != nil {
		t.Errorf("signalling a process that is gone: got %v, want nothing", err)
	}
}

func TestRecordsSurviveCrash(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "processes")
	l := At(file)
	first, last := Record{Name: "etcd", PID: 1, Start: 2, Boot: "b"}, Record{Name: "kubelet", PID: 3, Start: 4, Boot: "b"}
	if err := l.Append(first); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"name":"kube-apis`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(last); err != nil {
		t.Fatal(err)
	}
	got, err := l.Records()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Record{first, last}, got); diff != "" {
		t.Errorf("a half-written record must cost itself and no other: -want, +got:\n%s", diff)
	}
	if got, err := At(filepath.Join(t.TempDir(), "none")).Records(); len(got) != 0 || err != nil {
		t.Errorf("a ledger that was never written: got %v, %v; want nothing", got, err)
	}
}

// sleeper is a ledger and a command that lives until it is stopped. Its control group is a plain file, so the test needs no rights.
func sleeper(t *testing.T) (*Ledger, Command) {
	t.Helper()
	dir := t.TempDir()
	procs := filepath.Join(dir, "cgroup.procs")
	if err := os.WriteFile(procs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := At(filepath.Join(dir, "processes"))
	t.Cleanup(func() {
		records, err := l.Records()
		if err == nil {
			err = Stop(records, 0)
		}
		if err != nil {
			t.Error(err)
		}
	})
	return l, Command{Name: "sleeper", Path: "/bin/sleep", Args: []string{"600"}, Log: filepath.Join(dir, "log"), CgroupProcs: procs}
}

func sessionOf(pid int) (int, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	var state string
	var parent, group, session int
	_, err = fmt.Sscan(string(line[strings.LastIndexByte(string(line), ')')+1:]), &state, &parent, &group, &session)
	return session, err
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("timed out: %s", what)
		case <-tick.C:
		}
	}
}
