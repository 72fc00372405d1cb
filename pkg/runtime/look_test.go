package runtime

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLook(t *testing.T) {
	t.Parallel()
	main := func(s corev1.ContainerState) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: containerName, State: s}}}
	}
	waiting := func(reason, message string) corev1.PodStatus {
		return main(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
	}
	terminated := func(t corev1.ContainerStateTerminated) corev1.PodStatus {
		return main(corev1.ContainerState{Terminated: &t})
	}
	p := DefaultPatience()
	cases := map[string]struct {
		reason   string
		status   corev1.PodStatus
		stage    stage
		trouble  string
		detail   string
		patience time.Duration
		err      string
	}{
		"Nothing":     {reason: "A new pod has no status at all.", status: corev1.PodStatus{Phase: corev1.PodPending}},
		"Creating":    {reason: "Steps on the way are no trouble.", status: waiting("ContainerCreating", "")},
		"Initialized": {reason: "Nor is the init container.", status: waiting("PodInitializing", "")},
		"Pull":        {reason: "A registry may come back.", status: waiting("ErrImagePull", "EOF"), trouble: troubleImage, detail: "EOF", patience: p.Image},
		"NeverPull":   {reason: "What no waiting cures is given up at once.", status: waiting("ErrImageNeverPull", ""), trouble: troubleImage, detail: "ErrImageNeverPull"},
		"Config":      {reason: "The kubelet tries again, but seldom with success.", status: waiting("CreateContainerConfigError", "runAsNonRoot"), trouble: troubleContainer, detail: "runAsNonRoot", patience: p.Container},
		"InitPull": {
			reason: "The image of the init container can be missing too.",
			status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{Name: waiterName, State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off"},
			}}}},
			trouble: troubleImage, detail: "Back-off", patience: p.Image,
		},
		"Waiting": {
			reason: "A chaincode that waits for its code does not run yet.",
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
				{Name: containerName, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
				{Name: fetchName, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "EOF"}}},
			}},
			trouble: troubleImage, detail: "EOF", patience: p.Image,
		},
		"Fetched": {
			reason: "A container that has done its work is no end.",
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
				{Name: containerName, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
				{Name: fetchName, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed"}}},
			}},
			stage: running,
		},
		"NotFetched": {
			reason: "Without its code the chaincode would wait for ever.",
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
				{Name: containerName, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
				{Name: fetchName, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "a\nrefused\n"}}},
			}},
			stage: ended, err: "did not get its code: refused",
		},
		"Building": {
			reason: "A build is an init container of its pod.",
			status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{Name: buildName, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}},
			stage:  running,
		},
		"NotBuilt": {
			reason: "The whole of what the kubelet kept is worth reading.",
			status: corev1.PodStatus{Phase: corev1.PodFailed, InitContainerStatuses: []corev1.ContainerStatus{{Name: buildName, State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "a.go:1\nb.go:2\n"},
			}}}},
			stage: ended, err: "the build exited with status 1:\na.go:1\nb.go:2",
		},
		"BuildOOM": {
			reason: "A compiler that was killed says nothing itself.",
			status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{Name: buildName, State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"},
			}}}},
			stage: ended, err: "the build exited with status 137 (OOMKilled)",
		},
		"Running":   {reason: "The usual end of a start.", status: main(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}), stage: running},
		"Completed": {reason: "Status 0 is no failure.", status: terminated(corev1.ContainerStateTerminated{Reason: "Completed"}), stage: ended},
		"OOM":       {reason: "The kubelet's reason matters more than 137.", status: terminated(corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}), stage: ended, err: "exited with status 137 (OOMKilled)"},
		"NotFound":  {reason: "An image without the program.", status: terminated(corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", Message: "exec: \"chaincode\": executable file not found"}), stage: ended, err: `exited with status 128 (StartError): exec: "chaincode": executable file not found`},
		"LongTail":  {reason: "The whole tail of a log is no reason.", status: terminated(corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "a\nb\n" + strings.Repeat("ü", 400) + "\n"}), stage: ended, err: "exited with status 1: " + strings.Repeat("ü", 250) + "…"},
		"Evicted":   {reason: "A node under pressure says so.", status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}, stage: ended, err: "failed: Evicted: The node was low on resource: memory."},
		"Succeeded": {reason: "A pod may end between two looks.", status: corev1.PodStatus{Phase: corev1.PodSucceeded}, stage: ended},
		"Unknown":   {reason: "A kubelet may lose its pods.", status: corev1.PodStatus{Phase: corev1.PodFailed}, stage: ended, err: "failed without a reason from the kubelet"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := look(&corev1.Pod{Status: tc.status}, containerName, p)
			said := ""
			if got.err != nil {
				said = got.err.Error()
			}
			if got.stage != tc.stage || got.reason != tc.trouble || got.detail != tc.detail || got.patience != tc.patience || said != tc.err {
				t.Errorf("%s\nlook = %+v", tc.reason, got)
			}
		})
	}
}

// TestVigilLostNode: a pod on a dead node is deleted by the control plane but stays
// listed as running until the node is back.
func TestVigilLostNode(t *testing.T) {
	t.Parallel()
	r := &job{name: "cc", o: Options{}.withDefaults()}
	now := time.Unix(1000, 0)
	v := vigil{job: r, limit: now.Add(time.Minute)}
	pod := new(corev1.Pod)
	if _, changed := v.saw(pod, sight{stage: running}, now); changed || v.expired() != nil {
		t.Error("a running pod was given a time to end")
	}
	grace := int64(30)
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &metav1.Time{Time: now}, &grace
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager"}}
	until, changed := v.saw(pod, sight{stage: running}, now)
	if want := now.Add(40 * time.Second); !changed || !until.Equal(want) {
		t.Errorf("saw = %s, %t, want %s", until, changed, want)
	}
	if err := v.expired(); err == nil || !strings.Contains(err.Error(), "deleted by DeletionByTaintManager and its node does not answer") {
		t.Errorf("expired = %v", err)
	}
}

// TestVigilTrouble: trouble that passes is forgotten, and the kubelet's reason survives
// its back-off.
func TestVigilTrouble(t *testing.T) {
	t.Parallel()
	r := &job{name: "cc", o: Options{}.withDefaults()}
	now := time.Unix(1000, 0)
	v := vigil{job: r, limit: now.Add(time.Minute)}
	pull := func(detail string) sight {
		return sight{reason: troubleImage, detail: detail, patience: 15 * time.Second}
	}
	steps := []struct {
		s     sight
		until time.Duration // 0: unchanged
		err   string
	}{
		{sight{reason: troubleNode, detail: "full", patience: time.Hour}, time.Minute, "no node takes it: full"},
		{sight{}, time.Minute, "does not run after"},
		{pull("Back-off pulling image"), 15 * time.Second, "Back-off pulling image"},
		{pull("EOF"), 0, "its image cannot be pulled: EOF"},
		{pull("Back-off pulling image"), 0, "its image cannot be pulled: EOF"},
	}
	for i, step := range steps {
		until, changed := v.saw(new(corev1.Pod), step.s, now)
		if changed != (step.until != 0) || changed && !until.Equal(now.Add(step.until)) {
			t.Errorf("step %d: saw = %s, %t", i, until, changed)
		}
		if step.s.reason == "" {
			continue // would ask the cluster for events
		}
		if err := v.expired(); err == nil || !strings.Contains(err.Error(), step.err) {
			t.Errorf("step %d: expired = %v, want %q", i, err, step.err)
		}
	}
}

func TestEachLine(t *testing.T) {
	t.Parallel()
	stamp := "2026-11-21T07:00:00.000000001Z"
	at := time.Date(2026, 11, 21, 7, 0, 0, 1, time.UTC)
	long := strings.Repeat("x", 3*MaxLine)
	cases := map[string]struct {
		reason string
		in     string
		want   []string
	}{
		"Empty":     {"No log, no lines.", "", nil},
		"Lines":     {"The time stamp goes.", stamp + " a\n" + stamp + " b c\n", []string{"a", "b c"}},
		"Blank":     {"Blank lines stay.", stamp + " \n", []string{""}},
		"NoStamp":   {"Kubelets report their own errors without one.", "failed to try resolving symlinks\n", []string{"failed to try resolving symlinks"}},
		"NoNewline": {"The last words of a crash.", stamp + " panic", []string{"panic"}},
		"Return":    {"Windows line ends.", stamp + " a\r\n", []string{"a"}},
		"Long":      {"Fabric would stop reading at 64 KiB.", stamp + " " + long + "\n" + stamp + " z\n", []string{long, "z"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			err := eachLine(strings.NewReader(tc.in), func(when time.Time, text string, first bool) error {
				if len(text) > MaxLine {
					t.Errorf("%s\npiece of %d bytes", tc.reason, len(text))
				}
				if name != "NoStamp" && !when.Equal(at) {
					t.Errorf("time stamp %s", when)
				}
				if !first {
					got[len(got)-1] += text
					return nil
				}
				got = append(got, text)
				return nil
			})
			if err != nil || strings.Join(got, "\n") != strings.Join(tc.want, "\n") || len(got) != len(tc.want) {
				t.Errorf("%s\neachLine: %d lines, %v", tc.reason, len(got), err)
			}
		})
	}
}

func TestAlive(t *testing.T) {
	t.Parallel()
	self := Self()
	if !Alive(self.String()) {
		t.Errorf("Alive(%s) = false for the caller", self)
	}
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	child := Process{PID: other.Process.Pid, Start: startOf(other.Process.Pid)}
	if !Alive(child.String()) {
		t.Errorf("Alive(%s) = false for a child", child)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for Alive(child.String()) { // a zombie until it is waited for
		if time.Now().After(deadline) {
			t.Fatal("a killed process stays alive")
		}
		time.Sleep(time.Millisecond)
	}
	_ = other.Wait()
	for reason, s := range map[string]string{
		"the number was given to another process": strconv.Itoa(os.Getpid()) + ".1",
		"there is no start":                       strconv.Itoa(os.Getpid()) + ".",
		"no process has this number":              "999999999." + self.Start,
		"a label somebody else wrote":             "peer0",
		"nothing":                                 "",
	} {
		if Alive(s) {
			t.Errorf("Alive(%q) = true: %s", s, reason)
		}
	}
}
