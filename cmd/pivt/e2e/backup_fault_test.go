//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/keeper"
	"pivt.io/pivt/pkg/network"
)

// TestBackupFaults kills and breaks what a backup and a restore are made of. Whatever happens,
// the network runs, or the error says what to do.
func TestBackupFaults(t *testing.T) {
	t.Parallel()
	v := newVault(t, "e2e-backup-fault", 1)
	server := v.s3Server("s3", "2Gi")
	s3 := v.s3Target(server, "backups")
	v.target(s3)
	v.credentials("hlf-backup", nil)
	j := &journal{}
	v.writer("Org1", j).fill("a", 400, 100<<10) // enough for copies to take a moment

	t.Run("CreateKilled", func(t *testing.T) { v.in(t).createKilled() })
	t.Run("Terminated", func(t *testing.T) { v.in(t).terminated() })
	t.Run("WrongCredentials", func(t *testing.T) { v.in(t).wrongCredentials() })
	t.Run("Unreachable", func(t *testing.T) { v.in(t).unreachable() })
	t.Run("StorageFull", func(t *testing.T) { v.in(t).storageFull(); v.target(s3) })
	t.Run("OrderersMissing", func(t *testing.T) { v.in(t).orderersMissing() })
	t.Run("NewerData", func(t *testing.T) { v.in(t).newerData(j) })
	t.Run("RestoreKilled", func(t *testing.T) { v.in(t).restoreKilled() })
	t.Run("Cancelled", func(t *testing.T) { v.in(t).cancelled() })
	t.Run("OneOrderer", func(t *testing.T) { v.in(t).oneOrderer() })
	t.Run("OtherNetwork", func(t *testing.T) { v.in(t).otherNetwork() })
	v.target(v.s3Target(server, "others"))
	t.Run("FlippedByte", func(t *testing.T) { v.in(t).flippedByte() })
}

// victim finds a running pod that a fault is for.
type victim struct {
	name, reason string
	find         func(corev1.Pod) bool
	early        bool // it works for less than the time between two reports of a kubelet
}

// stepPod is the pod of a workflow's task.
func stepPod(verb string) func(corev1.Pod) bool {
	return func(p corev1.Pod) bool {
		if p.Labels["workflows.argoproj.io/workflow"] == "" {
			return false
		}
		for _, c := range p.Spec.Containers {
			if c.Name == "main" && len(c.Args) > 1 && c.Args[0] == "step" && c.Args[1] == verb {
				return true
			}
		}
		return false
	}
}

// madePod is a pod that the keeper made, by its role and the kind of its node.
func madePod(role, kind string) func(corev1.Pod) bool {
	return func(p corev1.Pod) bool {
		return p.Labels[keeper.RoleLabel] == role && strings.Contains(p.Labels[keeper.NodeLabel], kind)
	}
}

func (v *vault) createKilled() {
	r := v.killing([]victim{
		{"begin", "The repository may be half made.", stepPod("begin"), false},
		{"guard", "Nobody else would start the nodes then; it must come back by itself.", madePod("guard", ""), false},
		{"copy of a peer", "The node is stopped and its copy is half done.", madePod("save", "peer"), false},
		{"keeper of peers", "A node may be stopped, and who stopped it is gone.", stepPod("peers"), false},
		{"copy of an orderer", "The quorum is one short.", madePod("save", "orderer"), false},
		{"keeper of orderers", "A node may be stopped, and who stopped it is gone.", stepPod("orderers"), false},
		{"seal", "The backup is all there and nobody has said so.", stepPod("seal"), false},
		{"verify", "The backup is good and nobody knows.", stepPod("verify"), false},
		{"end", "Something may be held, and the guard has to let go.", stepPod("end"), false},
	}, "backup", "create", "--key", "killed")
	v.assertRunning()
	if r.code != 0 {
		v.t.Errorf("create ended with %d, want 0 after retries", r.code)
	}
	if !v.verified("killed") {
		v.t.Error("the backup is not listed as verified")
	}
}

// often is until for what lasts a second or less.
func (v *vault) often(ctx context.Context, what string, cond func() (bool, error)) {
	v.t.Helper()
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := cond()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			v.t.Fatalf("waiting for %s: %v (last: %v)", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// killing runs pivt and kills each victim once, as soon as it runs.
func (v *vault) killing(victims []victim, args ...string) run {
	v.t.Helper()
	p := v.start(args...)
	struck := map[string]bool{}
	zero := int64(0)
	ctx, cancel := context.WithTimeout(context.Background(), backupTimeout)
	defer cancel()
	v.often(ctx, "pivt to end", func() (bool, error) {
		for _, pod := range v.pods("") {
			for _, victim := range victims {
				alive := pod.Status.Phase == corev1.PodRunning || victim.early && pod.Status.Phase == corev1.PodPending && pod.Spec.NodeName != ""
				if !alive || pod.DeletionTimestamp != nil || struck[victim.name] || !victim.find(pod) {
					continue
				}
				err := v.core.CoreV1().Pods(v.ns).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
				if apierrors.IsNotFound(err) {
					continue
				}
				v.must(err)
				struck[victim.name] = true
				v.t.Logf("killed the %s, pod %s", victim.name, pod.Name)
			}
		}
		return p.ended(), nil
	})
	for _, victim := range victims {
		if !struck[victim.name] {
			v.t.Errorf("there was no %s to kill: %s", victim.name, victim.reason)
		}
	}
	return p.wait()
}

// assertRunning waits until every node is ready, none is held, and nothing of a backup is left.
func (v *vault) assertRunning() {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	v.until(ctx, "all nodes to run", func() (bool, error) {
		holds, err := keeper.Held(ctx, v.core, v.ns)
		if err != nil || len(holds) > 0 {
			return false, fmt.Errorf("%v held, %w", holds, err)
		}
		for _, n := range v.network.Nodes() {
			set, err := v.core.AppsV1().StatefulSets(v.ns).Get(ctx, n.Name(), metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			if *set.Spec.Replicas != 1 || set.Status.ReadyReplicas != 1 {
				return false, fmt.Errorf("%s: %d of %d ready", n.Name(), set.Status.ReadyReplicas, *set.Spec.Replicas)
			}
		}
		for name, p := range v.pods("app.kubernetes.io/component=backup") {
			if p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodPending {
				return false, fmt.Errorf("pod %s is left", name)
			}
		}
		return true, nil
	})
}

// verified reports whether list has a backup as complete and verified.
func (v *vault) verified(key string) bool {
	v.t.Helper()
	for _, s := range v.list() {
		if s.Key == key {
			return s.Complete && s.Verified != nil
		}
	}
	return false
}

// terminated ends the workflow in the middle, so that not even its exit handler runs.
func (v *vault) terminated() {
	p := v.start("backup", "create", "--key", "terminated")
	v.terminate(madePod("save", ""))
	began := time.Now()
	v.assertRunning()
	v.t.Logf("all nodes ran %.0f s after argo terminate", time.Since(began).Seconds())
	if r := p.wait(); r.code == 0 {
		v.t.Error("a terminated backup is called created")
	}
	for _, s := range v.list() {
		if s.Key == "terminated" && s.Complete {
			v.t.Error("an interrupted backup is listed as good")
		}
	}
}

// terminate ends the workflow under way as soon as a pod runs.
func (v *vault) terminate(during func(corev1.Pod) bool) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var workflow string
	v.often(ctx, "the moment to terminate", func() (bool, error) {
		reached := false
		for _, pod := range v.pods("") {
			if pod.Status.Phase != corev1.PodRunning {
				continue
			}
			if name := pod.Labels["workflows.argoproj.io/workflow"]; name != "" {
				workflow = name
			}
			reached = reached || during(pod)
		}
		return reached && workflow != "", nil
	})
	v.exec("", "argo", "-n", v.ns, "terminate", workflow).wait().ok()
}

// untouched runs do and sees that no node's pod was replaced.
func (v *vault) untouched(do func()) {
	v.t.Helper()
	uids := func() map[string]string {
		all := map[string]string{}
		for _, n := range v.network.Nodes() {
			p, err := v.core.CoreV1().Pods(v.ns).Get(context.Background(), n.Pod(), metav1.GetOptions{})
			v.must(err)
			all[n.Pod()] = string(p.UID)
		}
		return all
	}
	before := uids()
	do()
	for pod, uid := range uids() {
		if before[pod] != uid {
			v.t.Errorf("%s was stopped", pod)
		}
	}
}

// says checks the code and the words of a run that fails.
func (v *vault) says(r run, code int, words ...string) {
	v.t.Helper()
	if r.code != code {
		v.t.Errorf("%s: exit %d, want %d", strings.Join(r.args, " "), r.code, code)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			v.t.Errorf("%s does not say %q:\n%s", strings.Join(r.args, " "), word, r.stderr)
		}
	}
}

func (v *vault) wrongCredentials() {
	for _, c := range []struct {
		name string
		more map[string]string
		word string
	}{
		{"the storage's key", map[string]string{"secretAccessKey": "wrong"}, "access refused"},
		{"the repository's password", map[string]string{"password": "wrong"}, "wrong password"},
	} {
		v.credentials("hlf-backup", c.more)
		v.untouched(func() { v.says(v.pivt("backup", "create"), 1, c.word) })
		v.says(v.pivt("backup", "list"), 1, c.word)
	}
	v.credentials("hlf-backup", nil)
}

// unreachable takes the S3 server away for a minute while a node is copied.
func (v *vault) unreachable() {
	p := v.start("backup", "create", "--key", "unreachable")
	ctx, cancel := context.WithTimeout(context.Background(), backupTimeout)
	defer cancel()
	v.often(ctx, "a copy under way", func() (bool, error) {
		for _, pod := range v.pods("") {
			if pod.Status.Phase == corev1.PodRunning && madePod("save", "")(pod) {
				return true, nil
			}
		}
		return false, nil
	})
	zero := int64(0)
	v.must(v.core.CoreV1().Pods(v.ns).Delete(ctx, "s3", metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	back := time.Now().Add(time.Minute)
	v.until(ctx, "the minute to pass", func() (bool, error) { return time.Now().After(back), nil })
	v.startS3("s3")
	p.wait().ok()
	v.assertRunning()
	if !v.verified("unreachable") {
		v.t.Error("the backup is not verified")
	}
}

// storageFull backs up to a claim with room for next to nothing.
func (v *vault) storageFull() {
	v.claim("small", "1Gi")
	// The volume is made for its first pod.
	user := int64(65532)
	yes := true
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := v.core.CoreV1().Pods(v.ns).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "small"}, Spec: corev1.PodSpec{
		RestartPolicy:   corev1.RestartPolicyNever,
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "true", Image: "docker.io/library/busybox:1.35.0", ImagePullPolicy: corev1.PullNever, Command: []string{"true"},
			SecurityContext: strict(), VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}}},
		Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "small"}}}},
	}}, metav1.CreateOptions{})
	v.must(err)
	v.until(ctx, "the claim's volume", func() (bool, error) {
		p, err := v.core.CoreV1().Pods(v.ns).Get(ctx, "small", metav1.GetOptions{})
		return err == nil && p.Status.Phase == corev1.PodSucceeded, err
	})
	dir := v.directory("small")
	v.must(run1("mount", "-t", "tmpfs", "-o", "size=600k,mode=0777", "tmpfs", dir))
	v.t.Cleanup(func() {
		if err := run1("umount", "-l", dir); err != nil {
			v.t.Error(err)
		}
	})
	v.target("  target: {type: pvc, pvc: {claimName: small}}\n")
	v.says(v.pivt("backup", "create", "--key", "full"), 1, "storage is full")
	v.assertRunning()
}

func run1(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (v *vault) orderersMissing() {
	v.pivt("--set", "backup.parts.orderers=false", "--set", "backup.verify.enabled=false", "backup", "create", "--key", "peers-only").ok()
	v.untouched(func() {
		v.says(v.pivt("restore", "peers-only", "--yes", "--accept", "unverified"), 3, "no copy of hlf-orderer", "missing-parts")
	})
}

// flippedByte damages a repository where it holds nodes' data. It is one that nothing happened to
// yet: what a killed copy left in the other one belongs to no backup, and nothing would ever read it.
func (v *vault) flippedByte() {
	v.pivt("backup", "create", "--key", "damaged").ok()
	if !v.verified("damaged") {
		v.t.Fatal("the backup is not verified")
	}
	// Two peers that are saved at the same moment may have stored the same contents twice, and the
	// index names one of them: what is in the other pack is never read.
	var r run
	for _, pack := range largest(v.t, filepath.Join(v.directory("s3"), "others"), "p", 2) { // packs, in kopia's words
		flip(v.t, pack)
		if r = v.pivt("backup", "verify", "damaged"); r.code != 0 {
			break
		}
		v.t.Logf("nothing is read of %s", filepath.Base(pack))
	}
	v.says(r, 1, "is not good")
	if !slices.ContainsFunc(v.network.Nodes(), func(n *network.Node) bool { return strings.Contains(r.stderr, n.Name()) }) {
		v.t.Errorf("verify names no node:\n%s", r.stderr)
	}
	if v.verified("damaged") {
		v.t.Error("the damaged backup is still listed as verified")
	}
	v.assertRunning()
}

// largest are the n largest files below dir whose names begin with prefix.
func largest(t testing.TB, dir, prefix string, n int) []string {
	t.Helper()
	sizes := map[string]int64{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), prefix) {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sizes[path] = info.Size()
		}
		return err
	})
	if err != nil || len(sizes) < n {
		t.Fatalf("%d files %s* below %s: %v", len(sizes), prefix, dir, err)
	}
	return slices.SortedFunc(maps.Keys(sizes), func(a, b string) int { return cmp.Compare(sizes[b], sizes[a]) })[:n]
}

// flip changes one bit of the byte in a file's middle.
func flip(t testing.TB, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		data[len(data)/2] ^= 1
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
