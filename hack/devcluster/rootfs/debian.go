package rootfs

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"pivt.io/pivt/hack/devcluster/image"
)

// DefaultMirror is Debian's own.
const DefaultMirror = "http://deb.debian.org/debian"

// Program and the Debian package it comes in.
const Program, Package = "debootstrap", "debootstrap"

const (
	debianSuite   = "bookworm"
	debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// debianPackages are what is added to the smallest Debian.
var debianPackages = []string{"ca-certificates", "gcc", "libc6-dev", "nodejs"}

// debianSkips are directories nothing in a container reads. Those that end in a slash stay, empty.
var debianSkips = []string{
	"usr/share/doc/", "usr/share/info/", "usr/share/locale/", "usr/share/man/", "var/cache/", "var/lib/apt/lists/", "var/log/", "dev/", "proc/", "sys/",
	"etc/hostname", "etc/hosts", "etc/machine-id", "etc/resolv.conf", // the machine's own
}

// debian makes a root directory of packages, verified by the archive's key, and packs it.
func (m Maker) debian(ctx context.Context, dir string, log io.Writer) error {
	root := filepath.Join(dir, "root")
	cmd := exec.CommandContext(ctx, Program, "--variant=minbase", "--force-check-gpg", "--keyring="+debianKeyring,
		"--include="+strings.Join(debianPackages, ","), debianSuite, root, cmp.Or(m.Mirror, DefaultMirror))
	var said bytes.Buffer
	cmd.Stdout = io.MultiWriter(log, &said)
	cmd.Stderr = cmd.Stdout
	// It mounts below the new root. In a mount namespace of its own nothing is left of that, however it ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w: %s", Program, err, lastLine(said.String()))
	}
	if err := image.WriteLayer(dir, image.Tree{Dir: root, Skip: skipDebian}); err != nil {
		return err
	}
	return os.RemoveAll(root)
}

func skipDebian(rel string) bool {
	return slices.ContainsFunc(debianSkips, func(skip string) bool {
		if inside, ok := strings.CutSuffix(skip, "/"); ok {
			return strings.HasPrefix(rel, inside+"/")
		}
		return rel == skip
	})
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
