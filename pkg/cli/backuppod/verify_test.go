package backuppod_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
)

// packs are the files of the repository that hold data.
func (p *pod) packs() []string {
	p.t.Helper()
	var all []string
	dir := filepath.Join(p.root, "repository")
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if strings.HasPrefix(strings.ReplaceAll(rel, string(filepath.Separator), ""), "p") {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

// hurt damages packs, but for what is needed to find them.
func (p *pod) hurt(packs []string) {
	p.t.Helper()
	if len(packs) == 0 {
		p.t.Fatal("there is nothing to damage")
	}
	for _, name := range packs {
		data, err := os.ReadFile(name)
		if err != nil {
			p.t.Fatal(err)
		}
		for i := 40; i < len(data); i++ {
			data[i] ^= 0xff
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

// without is a list without those of another.
func without(all, others []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(others, s) })
}

// twoVerified makes two backups, verifies both, and returns which packs hold the data and the manifest of
// the later one, k2, alone.
func (p *pod) twoVerified() (data, manifest []string) {
	p.t.Helper()
	p.must("step", "begin", "--key=k1")
	for _, key := range []string{"k1", "k2"} {
		before := p.packs()
		for node, kind := range map[string]string{"hlf-peer--org1--peer0": "peer", "hlf-orderer--orderer--o0": "orderer"} {
			p.put("volumes/data/production/since.txt", "what "+node+" wrote before "+key)
			p.save(key, node, kind)
		}
		saved := p.packs()
		p.must("step", "seal", "--key", key)
		p.must("step", "verify", "--key", key)
		data, manifest = without(saved, before), without(p.packs(), saved)
	}
	return data, manifest
}

// verified lists the keys of verified backups.
func (p *pod) verified() string {
	p.t.Helper()
	var list []backup.Summary
	p.answer(&list, "list")
	var keys []string
	for _, s := range list {
		if s.Verified != nil {
			keys = append(keys, s.Key)
		}
	}
	return strings.Join(keys, " ")
}

// TestVerifiedNoMore damages what was verified: nobody may rely on it from then on.
func TestVerifiedNoMore(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		hurt   func(data, manifest []string) []string
		want   string
	}{
		"Data":     {"A byte of a node's file that flips after the first verification is found by the second.", func(data, _ []string) []string { return data }, "backup k2 is not good"},
		"Manifest": {"Without its manifest nothing of a backup can be restored.", func(_, manifest []string) []string { return manifest }, "repository is damaged"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			data, manifest := p.twoVerified()
			if got := p.verified(); got != "k2 k1" {
				t.Fatalf("verified are %s", got)
			}
			p.hurt(tc.hurt(data, manifest))
			if code, _, words := p.run("step", "verify", "--key=k2"); code != exit.Failed || !strings.Contains(words, tc.want) {
				t.Fatalf("%s\nexit %d: %s", tc.reason, code, words)
			}
			if got := p.verified(); got != "k1" {
				t.Errorf("%s\nverified are %s, want k1", tc.reason, got)
			}
			status := p.status()
			if status.LastVerified == nil || status.LastVerified.Key != "k1" || status.LastFailure == nil || status.LastFailure.Key != "k2" {
				t.Errorf("%s\nthe cluster remembers %+v", tc.reason, status)
			}
			p.must("step", "verify", "--key=k1")
		})
	}
}

// TestStillVerified could not be verified again: that says nothing of the backup.
func TestStillVerified(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change func(p *pod, stop context.CancelFunc) (undo func())
	}{
		"WrongPassword": {"Nothing can be read with it, good or not.", func(p *pod, _ context.CancelFunc) func() {
			p.put("credentials/password", "wrong")
			return func() { p.put("credentials/password", "correct horse") }
		}},
		"NotThere": {"A volume that is not mounted has no repository.", func(p *pod, _ context.CancelFunc) func() {
			dir := filepath.Join(p.root, "repository")
			move := func(from, to string) {
				if err := os.Rename(from, to); err != nil {
					p.t.Error(err)
				}
			}
			move(dir, dir+".away")
			p.put("repository/lost+found", "")
			return func() { _ = os.RemoveAll(dir); move(dir+".away", dir) }
		}},
		"NoScratch": {"There is no room to restore into.", func(p *pod, _ context.CancelFunc) func() {
			if err := os.Remove(filepath.Join(p.root, "scratch")); err != nil {
				p.t.Error(err)
			}
			p.put("scratch", "no directory")
			return func() {}
		}},
		"Cancelled": {"It was told to end after the first volume.", func(p *pod, stop context.CancelFunc) func() {
			p.heard = func(line string) {
				if strings.Contains(line, `"msg":"progress"`) {
					stop()
				}
			}
			return func() { p.heard = nil }
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			p.twoVerified()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			undo := tc.change(p, stop)
			if code, _, words := p.under(ctx, "step", "verify", "--key=k2"); code == exit.OK {
				t.Fatalf("%s\nexit %d: %s", tc.reason, code, words)
			}
			undo()
			if got := p.verified(); got != "k2 k1" {
				t.Errorf("%s\nverified are %s, want both", tc.reason, got)
			}
			if status := p.status(); status.LastVerified == nil || status.LastVerified.Key != "k2" {
				t.Errorf("%s\nthe cluster remembers %+v", tc.reason, status)
			}
		})
	}
}
