package sweep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pivt.io/pivt/hack/devcluster/ledger"
)

// Hierarchies returns the mounted control group hierarchies, cgroup2 last.
func Hierarchies() ([]string, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return hierarchies(string(info)), nil
}

func hierarchies(mountinfo string) []string {
	var v1, v2 []string
	seen := map[string]bool{}
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 1 || !strings.HasPrefix(l[4], "/sys/fs/cgroup") || seen[l[4]] {
			continue
		}
		switch r[0] {
		case "cgroup":
			v1 = append(v1, l[4])
			seen[l[4]] = true
		case "cgroup2":
			v2 = append(v2, l[4])
			seen[l[4]] = true
		}
	}
	sort.Strings(v1)
	return append(v1, v2...)
}

// Processes returns every process in any control group called name at the root of a hierarchy, or below it.
func Processes(name string) ([]ledger.Record, error) {
	roots, err := Hierarchies()
	if err != nil {
		return nil, err
	}
	var found []ledger.Record
	seen := map[int]bool{}
	for _, root := range roots {
		for _, dir := range tree(filepath.Join(root, name)) {
			data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				continue // the group went away, and its members with it
			}
			for _, field := range strings.Fields(string(data)) {
				pid, err := strconv.Atoi(field)
				if err != nil || pid == 0 || seen[pid] || pid == os.Getpid() {
					continue
				}
				seen[pid] = true
				r, err := ledger.Of("a process of the cluster", pid)
				if err != nil || !memberOf(pid, name) {
					continue
				}
				found = append(found, r)
			}
		}
	}
	return found, nil
}

// memberOf looks the other way round, after the start time is known: if the pid has been reused since the group was
// read, the new process is not in the group.
func memberOf(pid int, name string) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && inGroup(string(data), name)
}

func inGroup(procCgroup, name string) bool {
	for line := range strings.Lines(procCgroup) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && (f[2] == "/"+name || strings.HasPrefix(f[2], "/"+name+"/")) {
			return true
		}
	}
	return false
}

// tree lists dir and the directories below it, deepest first.
func tree(dir string) []string {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append([]string{path}, dirs...)
		}
		return nil
	})
	return dirs
}

// Cgroups removes the control groups called name and everything below them. Their last members may still be exiting.
func Cgroups(name string, limit time.Duration) error {
	roots, err := Hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(limit)
	for {
		var left error
		for _, root := range roots {
			for _, dir := range tree(filepath.Join(root, name)) {
				if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
					left = err
				}
			}
		}
		if left == nil {
			return nil
		}
		if !errors.Is(left, syscall.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("removing control groups: %w", left)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
