package check_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/check"
)

func (w *world) collect() *check.Status {
	w.Helper()
	s, err := check.Collect(w.Context(), w.access)
	w.must(err)
	return s
}

// TestStatusOfBringUp looks at a network after each step of its bring-up.
func TestStatusOfBringUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	peers := func(joined ...bool) []check.ChannelPeer {
		names := []string{"hlf-peer--org1--peer0", "hlf-peer--org1--peer1", "hlf-peer--org2--peer0"}
		var all []check.ChannelPeer
		for i, n := range names {
			all = append(all, check.ChannelPeer{Name: n, Joined: joined[i]})
		}
		return all
	}
	all := []string{"Org1", "Org2"}
	steps := []struct {
		do        func()
		channel   check.Channel
		chaincode check.Chaincode
		ready     bool
	}{
		{
			func() {},
			check.Channel{Peers: peers(false, false, false), Reason: "not created"},
			check.Chaincode{Approved: []string{}, Installed: []string{}, Reason: "no peer of the channel answers"}, false,
		},
		{
			w.create,
			check.Channel{Height: 1, Peers: peers(false, false, false)},
			check.Chaincode{Approved: []string{}, Installed: []string{}, Reason: "no peer of the channel answers"}, false,
		},
		{
			func() { w.join("Org1") },
			check.Channel{Height: 1, Peers: peers(true, true, false)},
			check.Chaincode{Approved: []string{}, Installed: []string{}, Reason: "not committed"}, false,
		},
		{
			func() { w.join("Org2") },
			check.Channel{Height: 1, Peers: peers(true, true, true)},
			check.Chaincode{Approved: []string{}, Installed: []string{}, Reason: "not committed"}, false,
		},
		{
			func() {
				w.install("Org1", w.n.Org("Org1").Nodes[0])
				w.install("Org2", w.n.Org("Org2").Nodes...)
				w.commit()
			},
			check.Channel{Height: 4, Peers: peers(true, true, true)},
			check.Chaincode{Version: "1.0", Sequence: 1, Approved: all, Installed: []string{"hlf-peer--org1--peer0", "hlf-peer--org2--peer0"},
				Reason: "cannot run yet on hlf-peer--org1--peer1"}, false,
		},
	}
	for i, s := range steps {
		s.do()
		got := w.collect()
		for j := range got.Channels[0].Peers {
			got.Channels[0].Peers[j].Height = 0 // as gossip tells it, in its own time
		}
		s.channel.Name, s.chaincode.Name, s.chaincode.Channel = "common", "basic", "common"
		if d := cmp.Diff(s.channel, got.Channels[0]); d != "" {
			t.Errorf("channel after step %d: -want, +got:\n%s", i, d)
		}
		if d := cmp.Diff([]check.Chaincode{s.chaincode}, got.Chaincodes); d != "" {
			t.Errorf("chaincode after step %d: -want, +got:\n%s", i, d)
		}
		if got.Ready != s.ready {
			t.Errorf("ready after step %d: %v, want %v", i, got.Ready, s.ready)
		}
	}
}

// complete brings everything up.
func (w *world) complete() {
	w.Helper()
	w.create()
	for _, org := range []string{"Org1", "Org2"} {
		w.join(org)
		w.install(org, w.n.Org(org).Nodes...)
	}
	w.commit()
}

// TestStatusOfTrouble breaks a network that is complete.
func TestStatusOfTrouble(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		destroy func(*world)
		ready   bool
		failed  []string // results that failed: title and a part of the detail
	}{
		"Nothing": {"A complete network is ready and has no failed check.", func(*world) {}, true, nil},
		"OneOrdererOfThree": {
			"The channel goes on, but a node that does not run is told.",
			func(w *world) {
				w.cluster.HoldPods()
				w.cluster.Delete("statefulsets", namespace, "hlf-orderer--orderer--orderer0")
				w.deploy("hlf-orderer--orderer--orderer0")
			}, false,
			[]string{"hlf-orderer--orderer--orderer0 is ready: its pod has not been made yet"},
		},
		"PeerIsGone": {
			"A node that the cluster does not know is not asked, and what it takes away is told at each place.",
			func(w *world) { w.cluster.Delete("statefulsets", namespace, "hlf-peer--org2--peer0") }, false,
			[]string{"hlf-peer--org2--peer0 is ready: not installed", "common has all 3 peers: hlf-peer--org2--peer0 is not ready", "basic runs on common: cannot run yet on hlf-peer--org2--peer0"},
		},
		"PeerDoesNotAnswer": {
			"Kubernetes calls it ready, and it is not.",
			func(w *world) { w.nodes.Stop(w.n.Org("Org2").Nodes[0]) }, false,
			[]string{"common has all 3 peers: hlf-peer--org2--peer0:7051", "basic runs on common: cannot run yet on hlf-peer--org2--peer0"},
		},
		"OrderersDoNotAnswer": {
			"Without orderers the peers' ledgers are all there is.",
			func(w *world) {
				for _, n := range w.n.OrdererOrgs[0].Nodes {
					w.nodes.Stop(n)
				}
			}, false,
			[]string{"common has all 3 peers: hlf-orderer--orderer--orderer"},
		},
		"NewVersionInFiles": {
			"The files are ahead of the network.",
			func(w *world) { w.access.Network = load(w.T, strings.Replace(files, `"1.0"`, `"2.0"`, 1)) }, false,
			[]string{"basic runs on common: the files ask for version 2.0"},
		},
		"ImageCannotBePulled": {
			"Peers take a chaincode for ready whose pod will never run; the pod tells why.",
			func(w *world) {
				w.cluster.Put("pods", namespace, map[string]any{"phase": "Pending", "containerStatuses": []any{map[string]any{
					"name": "chaincode", "state": map[string]any{"waiting": map[string]any{"reason": "ImagePullBackOff", "message": "no such image"}}}}},
					map[string]any{"name": "basic-x", "labels": map[string]any{"app.kubernetes.io/component": "chaincode",
						"pivt.io/chaincode": "basic_1.0", "pivt.io/node": "hlf-peer--org1--peer0"}})
			}, false,
			[]string{"basic runs on common: pod/basic-x of hlf-peer--org1--peer0: "},
		},
		"PodOfOldVersion": {
			"What is left of a version that nobody calls any more is no trouble of this one.",
			func(w *world) {
				w.cluster.Put("pods", namespace, map[string]any{"phase": "Failed", "reason": "Evicted"},
					map[string]any{"name": "basic-old", "labels": map[string]any{"app.kubernetes.io/component": "chaincode", "pivt.io/chaincode": "basic_0.9"}})
			}, true, nil,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.complete()
			tc.destroy(w)
			s := w.collect()
			if s.Ready != tc.ready {
				t.Errorf("%s\nready: %v, want %v", tc.reason, s.Ready, tc.ready)
			}
			var failed []string
			for _, r := range s.Results() {
				if r.OK && (r.Hint != "" || r.Detail != "") || !r.OK && r.Hint == "" {
					t.Errorf("%s\n%+v: a cure belongs to every failure and to nothing else", tc.reason, r)
				}
				if r.Failed() {
					failed = append(failed, r.Title+": "+r.Detail)
				}
			}
			for i, f := range failed {
				if i < len(tc.failed) && strings.HasPrefix(f, tc.failed[i]) {
					failed[i] = tc.failed[i]
				}
			}
			if d := cmp.Diff(tc.failed, failed); d != "" {
				t.Errorf("%s\nfailed checks: -want, +got:\n%s", tc.reason, d)
			}
		})
	}
}

// TestCollectCannotAsk has a cluster that tells nothing about nodes.
func TestCollectCannotAsk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cluster.Refuse("list", "statefulsets", "")
	if s, err := check.Collect(t.Context(), w.access); err == nil {
		t.Errorf("status %+v of a cluster that refused to tell", s)
	}
}

func TestPre(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		arrange func(*world)
		want    []string
	}{
		"AllWell": {"Nothing is missing.", func(*world) {}, nil},
		"NoArgo": {"Argo's kinds are what install needs of it.", func(w *world) { w.cluster.WithoutArgo() },
			[]string{"Argo: resource workflows.argoproj.io is missing"}},
		"Rights": {"All rights that lack are named at once, because asking for them takes days.",
			func(w *world) { w.cluster.Refuse("patch", "secrets", ""); w.cluster.Refuse("create", "roles", "") },
			[]string{"permissions: missing: patch secrets, create roles.rbac.authorization.k8s.io"}},
		"NoNamespace": {"Only who has no namespace yet needs to make one.",
			func(w *world) {
				w.cluster.Refuse("create", "namespaces", "")
				w.access.Kube = w.cluster.Client("elsewhere")
			},
			[]string{"permissions: missing: create namespaces"}},
		"NamespaceIsThere": {"Who has a namespace need not be able to make one.",
			func(w *world) { w.cluster.Refuse("create", "namespaces", "") }, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tc.arrange(w)
			var got []string
			for _, r := range check.Pre(t.Context(), w.access.Kube) {
				if !r.OK {
					got = append(got, r.Category+": "+r.Detail)
				}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("%s\nfailed: -want, +got:\n%s", tc.reason, d)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	n := load(t, files)
	m := keys(t, n, made)
	end := made.AddDate(10, 0, 0)
	cases := map[string]struct {
		reason   string
		now      time.Time
		failures int
		warnings int
		detail   string
	}{
		"New":        {"A certificate that lasts for years is not worth a line each.", made.AddDate(1, 0, 0), 0, 0, ""},
		"MonthLeft":  {"Thirty days before the end there is time to plan.", end.AddDate(0, 0, -20), 0, 12, "expires on 20"},
		"Over":       {"An expired certificate stops its node.", end.AddDate(0, 0, 1), 12, 0, "expired on 20"},
		"ClockWrong": {"A certificate from the future is a clock that is wrong, on one side.", made.AddDate(-1, 0, 0), 12, 0, "is this machine's clock right?"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failures, warnings := 0, 0
			for _, r := range check.Certificates(n, m, tc.now) {
				switch {
				case r.Failed():
					failures++
				case !r.OK:
					warnings++
				}
				if !r.OK && !strings.Contains(r.Detail, tc.detail) {
					t.Errorf("%s\ndetail %q, want %q in it", tc.reason, r.Detail, tc.detail)
				}
			}
			if failures != tc.failures || warnings != tc.warnings {
				t.Errorf("%s\n%d failures and %d warnings, want %d and %d", tc.reason, failures, warnings, tc.failures, tc.warnings)
			}
		})
	}

	t.Run("Damaged", func(t *testing.T) {
		t.Parallel()
		damaged := keys(t, n, made)
		damaged.Orgs["Org1"].Nodes["peer0"].TLS.CertPEM = []byte("not a certificate")
		delete(damaged.Orgs["Org1"].Nodes, "peer1")
		var got []string
		for _, r := range check.Certificates(n, damaged, made.AddDate(1, 0, 0)) {
			got = append(got, r.Title+" "+r.Detail)
		}
		want := []string{"peer0.org1.example.com: TLS certificate is not PEM", "peer1.org1.example.com has certificates there are none"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("files that were damaged: -want, +got:\n%s", d)
		}
	})
}
