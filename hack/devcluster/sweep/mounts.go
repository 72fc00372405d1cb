package sweep

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountsBelow returns the mount points at or below dir from the text of /proc/self/mountinfo, those to be
// unmounted first first. The kernel lists a mount after the one it covers, so the order is simply reversed.
func mountsBelow(mountinfo, dir string) []string {
	var found []string
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		point := unescape.Replace(f[4])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			found = append([]string{point}, found...)
		}
	}
	return found
}

// unescape undoes the kernel's escapes in mount points.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Mounts unmounts everything at or below dir.
func Mounts(dir string) error {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, point := range mountsBelow(string(info), dir) {
		// A lazy unmount cannot fail because something is still open; whatever holds it has been killed or is about to be.
		err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("unmounting %s: %w", point, err)
		}
	}
	return nil
}
