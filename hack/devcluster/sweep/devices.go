package sweep

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ports returns the names of the devices in the output of `ip -json link show`.
func ports(out []byte) ([]string, error) {
	var links []struct {
		Name string `json:"ifname"`
	}
	if err := json.Unmarshal(out, &links); err != nil {
		return nil, fmt.Errorf("reading the list of network devices: %w", err)
	}
	var names []string
	for _, l := range links {
		if l.Name != "" {
			names = append(names, l.Name)
		}
	}
	return names, nil
}

// Bridge removes a bridge and the pod devices attached to it.
func Bridge(name string) error {
	if _, err := os.Stat(filepath.Join("/sys/class/net", name)); err != nil {
		return nil
	}
	out, err := exec.Command("ip", "-json", "link", "show", "master", name).Output()
	if err != nil {
		return fmt.Errorf("listing the ports of %s: %w", name, err)
	}
	attached, err := ports(out)
	if err != nil {
		return err
	}
	for _, dev := range append(attached, name) {
		// A pod's device goes by itself when its namespace does, possibly right now.
		if out, err := exec.Command("ip", "link", "del", dev).CombinedOutput(); err != nil && !strings.Contains(string(out), "Cannot find device") {
			return fmt.Errorf("removing network device %s: %w: %s", dev, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}
