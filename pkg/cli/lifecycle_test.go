package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/check"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
)

const (
	imageA = "pivt/basic@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	imageB = "pivt/basic@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// change edits network.yaml as its owner would.
func (w *live) change(from, to string) {
	w.Helper()
	text := w.read("network.yaml")
	if !strings.Contains(text, from) {
		w.Fatalf("network.yaml has no %q:\n%s", from, text)
	}
	w.write("network.yaml", strings.ReplaceAll(text, from, to))
}

// update brings the nodes to what the files say now, as the flow would.
func (w *live) update() {
	w.Helper()
	w.n = w.load()
	w.deploy(w.n)
}

// committed is what the channel has now.
func (w *live) committed() *fabric.Committed {
	w.Helper()
	var c *fabric.Committed
	w.as(w.n.PeerOrgs[0].Nodes[0], func(p *fabric.Peer) {
		var err error
		c, err = p.Committed(w.Context(), "common", "basic")
		w.must(err)
	})
	return c
}

// expect runs the program and compares its end.
func (w *live) expect(reason string, code exit.Code, stdout, stderr string, args ...string) {
	w.Helper()
	got, out, errs := w.pivt(args...)
	if got != code || !strings.Contains(out, stdout) || !strings.Contains(errs, stderr) {
		w.Errorf("%s\npivt %s: exit %d, want %d\nstdout %q, want %q\nstderr %q, want %q", reason, strings.Join(args, " "), got, code, out, stdout, errs, stderr)
	}
}

// TestCodeIsPinned changes code under a version that is committed.
func TestCodeIsPinned(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		arrange func(*live)
		args    []string
		code    exit.Code
		stderr  string
	}{
		"Same":       {"What is committed is what the files make.", func(*live) {}, []string{"chaincode", "install"}, exit.OK, ""},
		"OtherImage": {"Both ids and the cure are told.", func(w *live) { w.change(imageA, imageB) }, []string{"chaincode", "install"}, exit.Invalid, `version 1.0 is committed to channel "common" with package basic_1.0:`},
		"Install":    {"pivt install refuses as the flow's own command does.", func(w *live) { w.change(imageA, imageB) }, []string{"install"}, exit.Invalid, "pivt chaincode upgrade basic --version VERSION"},
		"Elsewhere":  {"A channel flow has nothing to do with code.", func(w *live) { w.change(imageA, imageB) }, []string{"channel", "apply"}, exit.OK, ""},
		"NewVersion": {"Another version may have other code.", func(w *live) { w.change(imageA, imageB); w.change(`"1.0"`, `"2.0"`) }, []string{"chaincode", "install"}, exit.OK, ""},
		"OneOrgAway": {"Whoever answers is enough to know.", func(w *live) { w.change(imageA, imageB); w.nodes.Stop(w.n.Org("Org2").Nodes[0]) }, []string{"chaincode", "install"}, exit.Invalid, "with package basic_1.0:"},
		"AllAway": {"When nobody answers, the flow's own steps have to look.", func(w *live) {
			w.change(imageA, imageB)
			for _, o := range w.n.PeerOrgs {
				for _, n := range o.Nodes {
					w.nodes.Stop(n)
				}
			}
		}, []string{"chaincode", "install"}, exit.OK, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLive(t)
			tc.arrange(w)
			before := w.cluster.Names("workflows", testNamespace)
			w.expect(tc.reason, tc.code, "", tc.stderr, tc.args...)
			if after := w.cluster.Names("workflows", testNamespace); tc.code != exit.OK && len(after) != len(before) {
				t.Errorf("%s\nit was refused, and yet submitted: %v", tc.reason, after)
			}
		})
	}
}

// TestUpgrade writes versions into the file and runs the flow.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	w := newLive(t)
	original := w.read("network.yaml")
	upgrade := func(args ...string) []string { return append([]string{"chaincode", "upgrade"}, args...) }

	w.expect("Without a version there is nothing to upgrade to.", exit.Invalid, "", "--version is missing", upgrade()...)
	w.expect("Unknown names are told with the known ones.", exit.Invalid, "", `chaincode "info" is not in the files; known: basic`, upgrade("info", "--version", "2.0")...)
	w.expect("A version Fabric would not take is refused by the files' own rules.", exit.Invalid, "", "network.yaml", upgrade("--version", "2 0")...)
	w.expect("A flag that wins over the file would make the file lie.", exit.Invalid, "", "a --set flag overrides", upgrade("--version", "2.0", "--set", "network.chaincodes[0].version=1.5")...)
	w.expect("The version is committed with other code.", exit.Invalid, "", "and the files make basic_1.0:", upgrade("--version", "1.0", "--image", imageB)...)
	w.expect("An image without a digest is refused by the files' own rules.", exit.Invalid, "", "has no digest", upgrade("--version", "2.0", "--image", "pivt/basic:2")...)
	w.expect("A client's dry run asks nobody.", exit.OK, "chaincode basic on common: 1.0 -> 2.0\nnetwork.yaml would be changed\n", "", upgrade("--version", "2.0", "--dry-run", "client")...)
	w.expect("A server's dry run knows the sequence.", exit.OK, "chaincode basic on common: 1.0 (sequence 1) -> 2.0\n", "", upgrade("--version", "2.0", "--dry-run", "server")...)
	w.expect("A program reads the same.", exit.OK, `"from": "1.0"`, "", upgrade("--version", "2.0", "--dry-run", "server", "-o", "json")...)
	if d := cmp.Diff(original, w.read("network.yaml")); d != "" {
		t.Fatalf("nothing has been upgraded, and the file changed: %s", d)
	}

	w.expect("The file is a change like others.", exit.OK, "file/network.yaml configured\nchaincode/basic ", "chaincode basic on common: 1.0 (sequence 1) -> 2.0", upgrade("--version", "2.0", "--image", imageB)...)
	want := strings.ReplaceAll(strings.ReplaceAll(original, `"1.0" # raise me`, `"2.0" # raise me`), imageA, imageB)
	if d := cmp.Diff(want, w.read("network.yaml")); d != "" {
		t.Errorf("comments and layout stay: -want, +got:\n%s", d)
	}
	w.update() // what the flow in memory only says it did
	w.expect("A repeat has nothing to write.", exit.OK, "chaincode/basic unchanged\n", "2.0 (sequence 2) stays", upgrade("--version", "2.0")...)
}

// TestUpgradeWhere the file is that is written to.
func TestUpgradeWhere(t *testing.T) {
	t.Parallel()
	w := newLive(t)
	w.write("more/extra.yaml", "network:\n  chaincodes:\n  - name: basic\n    image: "+imageA+"\n    channels: [{name: common, policy: \"OR('Org1MSP.peer','Org2MSP.peer')\"}]\n")
	w.write("last.yaml", "hyperledgerVersion: \"3.1.1\"\n")
	original := w.read("network.yaml")
	w.expect("Of several files, the last with chaincodes is the one that counts.", exit.OK, "file/more/extra.yaml configured\n", "",
		"chaincode", "upgrade", "--version", "2.0", "-f", "crypto-config.yaml", "-f", "network.yaml", "-f", "more/extra.yaml", "-f", "last.yaml")
	if got := w.read("more/extra.yaml"); !strings.Contains(got, "2.0") || w.read("network.yaml") != original {
		t.Errorf("more/extra.yaml:\n%s\nnetwork.yaml:\n%s", got, w.read("network.yaml"))
	}

	s, _, errs := w.state("chaincode", "upgrade", "--version", "2.0", "-f", "crypto-config.yaml", "-f", "-", "--kubeconfig", w.cluster.Kubeconfig(testNamespace))
	s.Stdin, s.Dial = strings.NewReader(original), w.nodes.Dial
	if code := Run(t.Context(), s); code != exit.Invalid || !strings.Contains(errs.String(), "standard input") || !strings.Contains(errs.String(), "Hint:  name the file with -f") {
		t.Errorf("upgrade of standard input: exit %d, %s", code, errs)
	}
}

// TestRollback goes back from each kind of change.
func TestRollback(t *testing.T) {
	t.Parallel()
	const collections = `collections: [{name: secrets, policy: "OR('Org1MSP.member','Org2MSP.member')"}], `
	cases := map[string]struct {
		reason string
		change func(*live) // from what is committed to what is to be undone
		args   []string
		code   exit.Code
		file   [2]string // what it is to hold, and not
		stdout string
		stderr string
	}{
		"Image": {
			"The image is known from the package that a peer keeps.",
			func(w *live) { w.change(imageA, imageB); w.change(`"1.0"`, `"2.0"`); w.update() },
			[]string{"--yes"}, exit.OK, [2]string{imageA, imageB},
			"file/network.yaml configured\nchaincode/basic ", "chaincode basic on common: 2.0 (sequence 2) -> sequence 3: version 1.0 instead of 2.0",
		},
		"DryRun": {
			"What would be done is told and not done.",
			func(w *live) { w.change(imageA, imageB); w.change(`"1.0"`, `"2.0"`); w.update() },
			[]string{"--dry-run=server"}, exit.OK, [2]string{imageB, imageA},
			"network.yaml would be changed\n", "",
		},
		"PolicyStays": {
			"A policy that was changed with the version goes back in the channel; that the file does not is told.",
			func(w *live) {
				w.change(`"1.0"`, `"2.0"`)
				w.change("OR('Org1MSP.peer'", "AND('Org1MSP.peer'")
				w.update()
			},
			[]string{"--yes"}, exit.OK, [2]string{`"1.0"`, `"2.0"`},
			"", "network.yaml still asks for endorsement policy AND('Org1MSP.peer','Org2MSP.peer') instead of OR('Org1MSP.peer','Org2MSP.peer') on channel common",
		},
		"OnlyCollections": {
			"A change under the same version can be undone, too.",
			func(w *live) { w.change("policy: \"OR(", collections+"policy: \"OR("); w.update() },
			[]string{"--yes"}, exit.OK, [2]string{`"1.0"`, `"2.0"`},
			"chaincode/basic ", "still asks for new collection secrets",
		},
		"FirstSequence": {
			"There is nothing before the first.", func(*live) {},
			[]string{"--yes"}, exit.Invalid, [2]string{imageA, imageB}, "", "no former definition: the channel has sequence 1, version 1.0",
		},
		"Unconfirmed": {
			"Where nobody can be asked, nothing is done.",
			func(w *live) { w.change(imageA, imageB); w.change(`"1.0"`, `"2.0"`); w.update() },
			nil, exit.Invalid, [2]string{imageB, imageA}, "", "this replaces version 2.0 of chaincode basic by version 1.0; give --yes to confirm",
		},
		"NotAnImageNow": {
			"What the file says now has no place for what the package was.",
			func(w *live) {
				w.change(imageA, imageB)
				w.change(`"1.0"`, `"2.0"`)
				w.update()
				w.change("image: "+imageB, "service: basic.example.com:9999")
			},
			[]string{"--yes"}, exit.Invalid, [2]string{"service:", imageA}, "", "its former package is of type k8s, and network.yaml says otherwise; nothing was changed",
		},
		"OrgIsAway": {
			"Without an organisation its package is unknown.",
			func(w *live) {
				w.change(imageA, imageB)
				w.change(`"1.0"`, `"2.0"`)
				w.update()
				w.nodes.Stop(w.n.Org("Org2").Nodes[0])
			},
			[]string{"--yes"}, exit.Failed, [2]string{imageB, imageA}, "", "hlf-peer--org2--peer0:7051",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLive(t)
			tc.change(w)
			w.expect(tc.reason, tc.code, tc.stdout, tc.stderr, append([]string{"chaincode", "rollback", "basic"}, tc.args...)...)
			file := w.read("network.yaml")
			if !strings.Contains(file, tc.file[0]) || strings.Contains(file, tc.file[1]) {
				t.Errorf("%s\nnetwork.yaml should have %q and not %q:\n%s", tc.reason, tc.file[0], tc.file[1], file)
			}
		})
	}
}

// TestList reads the list before and after an organisation falls behind.
func TestList(t *testing.T) {
	t.Parallel()
	w := newLive(t)
	list := func() []check.Deployed {
		code, out, errs := w.pivt("chaincode", "list", "-o", "json")
		var doc struct {
			APIVersion, Kind string
			Data             []check.Deployed
		}
		if err := json.Unmarshal([]byte(out), &doc); err != nil || code != exit.OK || doc.Kind != "ChaincodeList" {
			t.Fatalf("exit %d, %v\n%s%s", code, err, out, errs)
		}
		return doc.Data
	}
	got := list()
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	id := got[0].Package
	if !strings.HasPrefix(id, "basic_1.0:") {
		t.Errorf("package %q", id)
	}
	peers := func(org string) []string {
		var names []string
		for _, n := range w.n.Org(org).Nodes {
			names = append(names, n.Name())
		}
		return names
	}
	want := check.Deployed{
		Chaincode: check.Chaincode{Name: "basic", Channel: "common", Version: "1.0", Sequence: 1, Approved: []string{"Org1", "Org2"},
			Installed: append(peers("Org1"), peers("Org2")...), Ready: true},
		Package: id, Policy: "OR('Org1MSP.peer','Org2MSP.peer')",
		Orgs: []check.DeployedOrg{
			{Name: "Org1", Approved: true, Package: id, Installed: peers("Org1"), Peers: 2},
			{Name: "Org2", Approved: true, Package: id, Installed: peers("Org2"), Peers: 1},
		},
	}
	if d := cmp.Diff(want, got[0]); d != "" {
		t.Errorf("list: -want, +got:\n%s", d)
	}

	w.expect("A table fits a terminal.", exit.OK, "CHAINCODE   CHANNEL   VERSION   SEQUENCE   PACKAGE        ORGS   REASON\nbasic       common    1.0       1          "+id[10:22]+"   2/2    -\n", "", "chaincode", "list")
	w.expect("Wide names every organisation.", exit.OK, "basic       common    1.0       1          Org2   yes        1/1         "+check.ShortPackage(id)+"   -\n", "", "chaincode", "list", "-o", "wide")
	w.expect("Names are for scripts.", exit.OK, "chaincode/common/basic\n", "", "chaincode", "list", "-o", "name")

	w.nodes.Stop(w.n.Org("Org2").Nodes[0])
	got = list()
	if lags := got[0].Orgs[1].Lags; !strings.Contains(lags, "hlf-peer--org2--peer0") || got[0].Orgs[0].Lags != "" {
		t.Errorf("Org2's peer is away: %+v", got[0].Orgs)
	}

	w.change("  chaincodes:\n", "  chaincodes: []\n  #\n")
	w.write("network.yaml", strings.SplitAfter(w.read("network.yaml"), "chaincodes: []\n")[0])
	w.expect("What the channel has and the files do not is listed, too.", exit.OK, "1.0       1          "+id[10:22]+"   1/2    not in the files\n", "", "chaincode", "list")
}
