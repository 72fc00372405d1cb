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
		"--include="+strings.Join(debianPackages, ","), debianSuite, root)
	if mirror := cmp.Or(m.Mirror, aptMirror(ctx)); mirror != "" {
		cmd.Args = append(cmd.Args, mirror)
	}
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

// aptMirror is where the machine's own apt takes this Debian from, or "" if it has another.
func aptMirror(ctx context.Context) string {
	const format = "$(CODENAME) $(COMPONENT) $(SITE)"
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", format, "Created-By: Packages").Output()
	if err != nil {
		return "" // another distribution: debootstrap knows Debian's own
	}
	return mirrorOf(string(out))
}

// mirrorOf finds the address in lines of code name, component and address.
func mirrorOf(targets string) string {
	for line := range strings.Lines(targets) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == debianSuite && f[1] == "main" {
			return f[2]
		}
	}
	return ""
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
