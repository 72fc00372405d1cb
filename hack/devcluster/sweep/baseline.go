package sweep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Baseline is what the machine looked like before the cluster changed it.
type Baseline struct {
	// Sysctls maps paths below /proc/sys to their values.
	Sysctls map[string]string `json:"sysctls"`
	// Chains maps iptables and ip6tables to table/chain names that look like a cluster's and are not ours.
	Chains map[string][]string `json:"chains"`
	// Sets are ipsets that look like a cluster's and are not ours.
	Sets []string `json:"sets"`
	// Absent are directories that components make at fixed places and that did not exist, parents before children.
	Absent []string `json:"absent"`
}

// Take records the state of the machine.
func Take(sysctls, dirs []string) (Baseline, error) {
	b := Baseline{Sysctls: map[string]string{}, Chains: map[string][]string{}}
	for _, name := range sysctls {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // not every kernel has every key
		}
		if err != nil {
			return b, err
		}
		b.Sysctls[name] = strings.TrimSpace(string(value))
	}
	for _, dir := range dirs {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			b.Absent = append(b.Absent, dir)
		}
	}
	for _, family := range families {
		if _, err := exec.LookPath(family + "-save"); err != nil {
			continue
		}
		rules, err := save(family)
		if err != nil {
			return b, err
		}
		b.Chains[family] = clusterChains(rules)
	}
	if _, err := exec.LookPath("ipset"); err == nil {
		names, err := exec.Command("ipset", "list", "-n").Output()
		if err != nil {
			return b, fmt.Errorf("listing ipsets: %w", err)
		}
		b.Sets = clusterSets(string(names))
	}
	return b, nil
}

// Load reads a baseline. Its error is fs.ErrNotExist when none was taken, and then nothing was changed either.
func Load(path string) (Baseline, error) {
	var b Baseline
	data, err := os.ReadFile(path)
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return b, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// Save writes the baseline; it is complete or not there at all.
func (b Baseline) Save(path string) error {
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// RestoreSysctls writes back the recorded values that have changed.
func (b Baseline) RestoreSysctls() error {
	var errs []error
	for name, value := range b.Sysctls {
		path := filepath.Join("/proc/sys", name)
		now, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(now)) != value {
			err = os.WriteFile(path, []byte(value), 0o644)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("restoring sysctl %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// RemoveAbsent removes the directories that did not exist before, last one first, unless somebody else has put
// something there since.
func (b Baseline) RemoveAbsent() error {
	var errs []error
	for _, dir := range slices.Backward(b.Absent) {
		err := os.Remove(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
