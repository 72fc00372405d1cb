package runtime

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Process names a process of one pod: a number alone would be taken again after a restart
// of the container, together with the time the process started it is not.
type Process struct {
	PID   int
	Start string // in ticks since the machine started
}

// Self is the calling process.
func Self() Process {
	pid := os.Getpid()
	return Process{PID: pid, Start: startOf(pid)}
}

func (p Process) String() string { return fmt.Sprintf("%d.%s", p.PID, p.Start) }

// Alive reports whether the process named by s runs in the caller's container. What is
// not a name of a process is not alive.
func Alive(s string) bool {
	number, start, _ := strings.Cut(s, ".")
	pid, err := strconv.Atoi(number)
	return err == nil && start != "" && startOf(pid) == start
}

// startOf reads field 22 of /proc/PID/stat, or gives "" if there is no such process. The
// second field is a name in parentheses that may itself hold spaces and parentheses.
func startOf(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, ok := strings.Cut(string(data[max(0, strings.LastIndexByte(string(data), ')')):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return ""
	}
	const state, startTime = 0, 19
	if fields[state] == "Z" || fields[state] == "X" {
		return ""
	}
	return fields[startTime]
}
