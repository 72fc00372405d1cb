package cluster

import (
	"os"
	"strings"
	"testing"

	"pivt.io/pivt/hack/devcluster/ledger"
)

func TestWhole(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason   string
		complete bool
		process  string // of the recorded component
		wants    string // in the error; empty means none
	}{
		"Running":       {reason: "Such a cluster may hold somebody's network and must never be removed by up.", complete: true, process: "/bin/sleep"},
		"NeverComplete": {reason: "An up that was killed left components, but no cluster.", process: "/bin/sleep", wants: "never complete"},
		"Ended":         {reason: "After a crash or a reboot up has to begin again.", complete: true, process: "/bin/true", wants: "etcd has ended"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Cluster{Layout: Layout{State: t.TempDir()}}
			p, err := os.StartProcess(tc.process, []string{tc.process, "60"}, &os.ProcAttr{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Kill(); _, _ = p.Wait() })
			record, err := ledger.Of(etcdName, p.Pid)
			if err != nil {
				t.Fatal(err)
			}
			if tc.process == "/bin/true" {
				if _, err := p.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.ledger().Append(record); err != nil {
				t.Fatal(err)
			}
			if tc.complete {
				if err := os.WriteFile(c.completeFile(), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err = c.whole()
			if (err != nil) != (tc.wants != "") || err != nil && !strings.Contains(err.Error(), tc.wants) {
				t.Errorf("%s\nwhole: got %v, want %q", tc.reason, err, tc.wants)
			}
		})
	}
}
