package runtime

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestObjects shows all of what is created for one launch.
func TestObjects(t *testing.T) {
	t.Parallel()
	p := Peer{Namespace: "fabric", Node: node, Pod: node + "-0", UID: "11111111-2222-3333-4444-555555555555"}
	c := chaincode("My_CC.v1+rc")
	o := Options{Image: "pivt/pivt:dev", AwaitNetwork: true, Process: Process{PID: 42, Start: "4711"}}.withDefaults()
	made := pod(&p, &c, podName(&p, &c, "abcde"), &o)
	owner := &corev1.Pod{ObjectMeta: made.ObjectMeta}
	owner.UID = "99999999-2222-3333-4444-555555555555"
	noTLS := c
	noTLS.RootCert, noTLS.ClientCert, noTLS.ClientKey = "", "", ""
	for name, object := range map[string]any{
		"pod.yaml":         made,
		"secret.yaml":      secret(owner, owner.Name, owner.Labels, keys(&c)),
		"pod-tls-off.yaml": pod(&Peer{Namespace: "fabric", Node: node}, &noTLS, "name", &Options{Process: o.Process, Resources: o.Resources}),
	} {
		got := golden(t, name, object)
		if name != "secret.yaml" && strings.Contains(got, c.ClientKey) {
			t.Errorf("%s holds a key", name)
		}
	}
}

// golden compares an object with testdata, and returns it as YAML.
func golden(t *testing.T, name string, object any) string {
	t.Helper()
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: -want, +got (rewrite with -update):\n%s", file, diff)
	}
	return string(got)
}

func TestNames(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		label  string
		node   string
		pod    string
		value  string
	}{
		"Plain":  {"The usual one stays readable.", "basic_1.0", node, "hlf-peer--org1--peer0--basic-1-0-2c95a09d-abcde", "basic_1.0"},
		"Odd":    {"Fabric allows plus signs and capitals, Kubernetes does not.", "My_CC.v1+rc", node, "hlf-peer--org1--peer0--my-cc-v1-rc-2c95a09d-abcde", "My_CC.v1-rc"},
		"Ends":   {"A label may end in what a name must not end in.", "a+._-", node, "hlf-peer--org1--peer0--a-2c95a09d-abcde", "a"},
		"Long":   {"Fabric knows no limit.", strings.Repeat("x", 180), node, "hlf-peer--org1--peer0--xxxxxxxxxxxxxxxx-3be94637-2c95a09d-abcde", strings.Repeat("x", 54) + "-06b6bce4"},
		"Cut":    {"A cut must not leave a dash at the end.", strings.Repeat("x", 53) + "_" + strings.Repeat("y", 30), strings.Repeat("n", 52), "", ""},
		"Number": {"A label may start with a digit.", "1", node, "hlf-peer--org1--peer0--1-2c95a09d-abcde", "1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, p := chaincode(tc.label), Peer{Node: tc.node}
			got, value := podName(&p, &c, "abcde"), labelValue(tc.label)
			if tc.pod != "" && got != tc.pod {
				t.Errorf("%s\npodName = %s, want %s", tc.reason, got, tc.pod)
			}
			if tc.value != "" && value != tc.value {
				t.Errorf("%s\nlabelValue = %s, want %s", tc.reason, value, tc.value)
			}
			valid(t, tc.label, got, value)
		})
	}
}

func valid(t *testing.T, label, pod, value string) {
	t.Helper()
	if problems := validation.IsDNS1123Label(pod); problems != nil {
		t.Errorf("label %q: pod name %q: %v", label, pod, problems)
	}
	if problems := validation.IsValidLabelValue(value); problems != nil || value == "" {
		t.Errorf("label %q: label value %q: %v", label, value, problems)
	}
}

// FuzzNames holds for every label that Fabric accepts.
func FuzzNames(f *testing.F) {
	f.Add("basic_1.0")
	f.Add("My_CC.v1+rc")
	f.Add("0+++")
	f.Add(strings.Repeat("a.", 100))
	f.Fuzz(func(t *testing.T, label string) {
		if !fabricLabel(label) {
			t.Skip()
		}
		c, p := chaincode(label), Peer{Node: node}
		valid(t, label, podName(&p, &c, "abcde"), labelValue(label))
	})
}

// fabricLabel is Fabric's rule, ^[[:alnum:]][[:alnum:]_.+-]*$.
func fabricLabel(s string) bool {
	for i, r := range s {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("_.+-", r)) {
			return false
		}
	}
	return s != ""
}
