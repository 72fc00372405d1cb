//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/network"
)

// TestBackup saves a network that is in use, loses all of it, and compares what comes back
// block by block and key by key with what its clients wrote.
func TestBackup(t *testing.T) {
	t.Parallel()
	v := newVault(t, "e2e-backup", 2)
	j := &journal{}
	w := v.writer("Org1", j)
	v.credentials("hlf-backup", nil)
	w.fill("a", 1000, 40)

	v.claim("repository", "2Gi")
	v.target("  target: {type: pvc, pvc: {claimName: repository}}\n")
	claim := v.file("network.yaml")
	v.busy(w, "b", func() { v.byHand("claim") })
	onClaim := v.manifest("claim")

	v.target(v.s3Target(v.s3Server("s3", "2Gi"), "backups"))
	s3 := v.file("network.yaml")
	v.write("passphrase", "correct horse battery staple\n")
	v.busy(w, "c", func() {
		v.pivt("backup", "create", "--key", "first", "--crypto-config", "crypto-config", "--passphrase-file", "passphrase").ok()
	})
	first := v.manifest("first")
	v.assertStatus("first")

	peer := v.gatewayOf(v.names("hlf-peer--org1")[0])
	hashes := peer.hashes(labChannel, peer.height(labChannel))
	v.destroy(v.network.Nodes()...)
	v.pivt("restore", "first", "--yes").ok()
	v.assertRestored(first, hashes, j)
	v.writer("Org2", &journal{}).fill("d", 20, 40)

	t.Run("SecondNamespaceAndRehearsal", func(t *testing.T) {
		v.in(t).rehearsal(first, func() { v.in(t).secondNamespace(first, hashes, j) })
	})
	v.write("network.yaml", claim) // of an earlier moment of the same chain
	t.Run("OnePeer", func(t *testing.T) { v.in(t).onePeer(onClaim) })
	v.write("network.yaml", s3)
	t.Run("NothingSecretInTheClear", func(t *testing.T) { v.in(t).nothingSecret("s3", "repository") })
	t.Run("Schedule", func(t *testing.T) { v.in(t).schedule() })
}

// busy runs do while a client keeps writing, which must not notice.
func (v *vault) busy(w *writer, prefix string, do func()) {
	v.t.Helper()
	stop := w.keepWriting(prefix)
	do()
	written, failed, err := stop()
	v.t.Logf("%d transactions meanwhile, %d failed, %d times another peer was asked, %d were handed in again, the slowest took %s", written, failed, w.moved.Load(), w.resent.Load(), time.Duration(w.slowest.Load()).Round(time.Millisecond))
	if failed > 0 || written == 0 {
		v.t.Errorf("%d of %d transactions failed while nodes were stopped one by one; the first: %v", failed, written+failed, err)
	}
}

// secondNamespace restores into an empty namespace from the two files alone, while the first network
// goes on: the keys come out of the backup.
func (v *vault) secondNamespace(m backup.Manifest, hashes []string, j *journal) {
	s := newSite(v.t, v.ns+"-2")
	s.limit = v.limit
	there := v.at(s)
	for _, name := range []string{"crypto-config.yaml", "network.yaml", "passphrase"} {
		s.write(name, v.file(name))
	}
	there.credentials("hlf-backup", nil)
	s.pivt("restore", m.Key, "--yes", "--crypto-config", "crypto-config", "--passphrase-file", "passphrase").ok()
	there.assertRestored(m, hashes, j)
	there.writer("Org1", &journal{}).fill("f", 5, 40)
	if _, ok := v.gatewayOf(v.names("hlf-peer--org1")[0]).all(false)["f00001"]; ok {
		v.t.Error("what was written to the copy is in the network it was made of")
	}
}

// rehearsal brings the backup up beside the network and asks its chaincodes, while something else is done.
func (v *vault) rehearsal(m backup.Manifest, meanwhile func()) {
	v.untouched(func() {
		p := v.start("backup", "verify", m.Key, "--rehearse")
		meanwhile()
		p.wait().ok()
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	v.until(ctx, "the rehearsal's namespace to go", func() (bool, error) {
		_, err := v.core.CoreV1().Namespaces().Get(ctx, v.ns+"-rehearsal", metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

// byHand makes a backup with helm and argo alone.
func (v *vault) byHand(key string) {
	v.t.Helper()
	charts, err := filepath.Abs("../../../charts")
	v.must(err)
	args := []string{"--set", "backup.key=" + key}
	ours := v.pivt(append([]string{"render", "backup-flow"}, args...)...).ok().stdout
	helms := v.exec("", "helm", append([]string{"template", filepath.Join(charts, "backup-flow"), "-f", "network.yaml", "-f", "crypto-config.yaml"}, args...)...).wait().ok().stdout
	if ours != helms {
		v.t.Error("pivt render and helm template differ")
	}
	v.exec(helms, "argo", "submit", "-n", v.ns, "--wait", "-").wait().ok()
	if !v.verified(key) {
		v.t.Errorf("backup %s is not verified", key)
	}
}

// schedule waits for a backup that nobody asked for, and sees older ones go.
func (v *vault) schedule() {
	v.pivt("--set", "backup.schedule=* * * * *", "--set", "backup.keep.last=1", "backup", "schedule").ok()
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	v.until(ctx, "a scheduled backup", func() (bool, error) {
		list := v.list()
		return len(list) > 0 && list[0].Verified != nil && list[0].Key != "first" && len(list) <= 2 && !slices.ContainsFunc(list, func(s backup.Summary) bool { return s.Key == "first" }), fmt.Errorf("%v", list)
	})
	v.pivt("backup", "schedule", "--remove").ok()
	v.assertRunning() // when the next one, which may have begun, has run to its end
}

// onePeer loses one peer, restores it while the rest serves, and sees it catch up.
func (v *vault) onePeer(m backup.Manifest) {
	lost := v.names("hlf-peer--org1")[1]
	w := v.writer("Org1", &journal{})
	v.busy(w, "g", func() {
		v.destroy(lost)
		v.pivt("restore", m.Key, "--node", lost.Name(), "--yes").ok()
	})
	other, back := v.gatewayOf(v.names("hlf-peer--org2")[0]), v.gatewayOf(lost)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	height := other.height(labChannel)
	v.until(ctx, lost.Name()+" to catch up", func() (bool, error) {
		h := back.height(labChannel)
		return h >= height, fmt.Errorf("%d of %d blocks", h, height)
	})
	if diff := cmp.Diff(other.hashes(labChannel, height), back.hashes(labChannel, height)); diff != "" {
		v.t.Errorf("blocks of the restored peer: -others, +its:\n%s", diff)
	}
	if diff := cmp.Diff(other.all(false), back.all(false)); diff != "" {
		v.t.Errorf("state of the restored peer: -others, +its:\n%s", diff)
	}
}

// assertRestored compares every block and every key on every node with what was there at the
// height from which the channel goes on.
func (v *vault) assertRestored(m backup.Manifest, hashes []string, j *journal) {
	v.t.Helper()
	height := m.Resumes()[labChannel]
	if height < 10 || int(height) > len(hashes) {
		v.t.Fatalf("the channel goes on at %d; %d blocks are known", height, len(hashes))
	}
	want := hashes[:height]
	for _, node := range v.names("hlf-orderer") {
		if diff := cmp.Diff(want, v.ordererHashes(node, height)); diff != "" {
			v.t.Errorf("%s: blocks: -before, +restored:\n%s", node.Name(), diff)
		}
	}
	var saved uint64 // what one of the peers had: private data of later blocks are in no copy
	for _, node := range v.names("hlf-peer") {
		n, _ := m.Node(node.Name())
		c, _ := n.Channel(labChannel)
		saved = max(saved, c.Height)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for _, node := range v.names("hlf-peer") {
		g := v.gatewayOf(node)
		v.until(ctx, node.Name()+" to have all blocks", func() (bool, error) {
			h := g.height(labChannel)
			return h >= height, fmt.Errorf("%d of %d", h, height)
		})
		if diff := cmp.Diff(want, g.hashes(labChannel, height)); diff != "" {
			v.t.Errorf("%s: blocks: -before, +restored:\n%s", node.Name(), diff)
		}
		if diff := cmp.Diff(j.state(height, false), g.all(false)); diff != "" {
			v.t.Errorf("%s: keys: -written, +restored:\n%s", node.Name(), diff)
		}
		least := j.state(saved, true)
		v.until(ctx, node.Name()+" to have all private data that was saved", func() (bool, error) {
			got := g.all(true)
			missing := 0
			for key, value := range least {
				if got[key] != value {
					missing++
				}
			}
			for key, value := range got {
				if j.state(height, true)[key] != value {
					v.t.Fatalf("%s: private %s = %q, which nobody wrote", node.Name(), key, value)
				}
			}
			return missing == 0, fmt.Errorf("%d of %d missing", missing, len(least))
		})
	}
	v.t.Logf("%d blocks, %d keys and %d private ones are on every peer", height, len(j.state(height, false)), len(j.state(saved, true)))
}

// assertStatus checks what "pivt status" says of the last verified backup.
func (v *vault) assertStatus(key string) {
	v.t.Helper()
	if r := v.pivt("status"); !strings.Contains(r.stdout+r.stderr, key) {
		v.t.Errorf("status does not name backup %s:\n%s", key, r.stdout)
	}
}

// manifest asks the repository what a backup is.
func (v *vault) manifest(key string) backup.Manifest {
	v.t.Helper()
	var d struct{ Data backup.Manifest }
	v.must(json.Unmarshal([]byte(v.pivt("backup", "show", key, "-o", "json").ok().stdout), &d))
	if d.Data.Key != key {
		v.t.Fatalf("show prints the manifest of %q", d.Data.Key)
	}
	return d.Data
}

func (v *vault) file(name string) string {
	v.t.Helper()
	b, err := os.ReadFile(filepath.Join(v.dir, name))
	v.must(err)
	return string(b)
}

// claim makes a PersistentVolumeClaim.
func (v *vault) claim(name, size string) {
	v.t.Helper()
	_, err := v.core.CoreV1().PersistentVolumeClaims(v.ns).Create(context.Background(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}}},
	}, metav1.CreateOptions{})
	v.must(err)
}

// destroy removes nodes with their volumes.
func (v *vault) destroy(nodes ...*network.Node) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	zero := int64(0)
	now := metav1.DeleteOptions{GracePeriodSeconds: &zero}
	for _, n := range nodes {
		v.must(v.core.AppsV1().StatefulSets(v.ns).Delete(ctx, n.Name(), now))
		if err := v.core.CoreV1().Pods(v.ns).Delete(ctx, n.Pod(), now); err != nil && !apierrors.IsNotFound(err) {
			v.t.Fatal(err)
		}
		v.must(v.core.CoreV1().PersistentVolumeClaims(v.ns).Delete(ctx, "data-"+n.Pod(), metav1.DeleteOptions{}))
	}
	for _, n := range nodes {
		v.until(ctx, n.Name()+" and its volume to be gone", func() (bool, error) {
			_, pod := v.core.CoreV1().Pods(v.ns).Get(ctx, n.Pod(), metav1.GetOptions{})
			_, claim := v.core.CoreV1().PersistentVolumeClaims(v.ns).Get(ctx, "data-"+n.Pod(), metav1.GetOptions{})
			return apierrors.IsNotFound(pod) && apierrors.IsNotFound(claim), nil
		})
	}
}

// list asks the repository for all it has.
func (v *vault) list() []backup.Summary {
	v.t.Helper()
	var d struct{ Data []backup.Summary }
	v.must(json.Unmarshal([]byte(v.pivt("backup", "list", "--all", "-o", "json").ok().stdout), &d))
	return d.Data
}
