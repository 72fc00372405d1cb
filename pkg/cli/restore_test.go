package cli

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/deploy/deploytest"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/keeper"
)

// newRestorer has a verified backup of this morning, and an unverified one of an hour ago.
func newRestorer(t *testing.T) *saver {
	t.Helper()
	u := newSaver(t)
	u.vault.add("morning", today(3), true, sample())
	u.vault.add("late", today(11), false, sample())
	return u
}

// TestRestore restores on the cluster in memory: the lines tell each node and from where it goes on.
func TestRestore(t *testing.T) {
	t.Parallel()
	const peers = "node/hlf-peer--org1--peer0 restored: mychannel at 40\nnode/hlf-peer--org2--peer0 restored: mychannel at 41\n"
	cases := map[string]struct {
		reason string
		args   []string
		answer string
		want   string
		values string // backup.restore of the workflow, in JSON
	}{
		"All": {
			"All orderers go on from one copy, so they say one height: the earliest that has every block of a peer.",
			[]string{"restore", "morning", "--yes"}, "",
			"node/hlf-orderer--orderer--orderer0 restored: mychannel at 42\nnode/hlf-orderer--orderer--orderer1 restored: mychannel at 42\nnode/hlf-orderer--orderer--orderer2 restored: mychannel at 42\n" + peers,
			`["--key=morning"]`,
		},
		"Asked": {
			"At a terminal, the word yes is needed and enough.",
			[]string{"restore", "morning", "--org", "Org1"}, "yes\n",
			"node/hlf-peer--org1--peer0 restored: mychannel at 40\n",
			`["--only-org=Org1","--key=morning"]`,
		},
		"ByMoment": {
			"An unverified backup is none of those that --at may choose.",
			[]string{"restore", "--at", "10m", "--node", "peer0.org2.example.com", "--accept", "newer-data,overwrite", "--yes"}, "",
			"node/hlf-peer--org2--peer0 restored: mychannel at 41\n",
			`["--node=hlf-peer--org2--peer0","--accept=newer-data","--accept=overwrite","--key=morning"]`,
		},
		"Unverified": {
			"Who knows what it is may have it.",
			[]string{"restore", "late", "--org", "Org2", "--accept", "unverified", "--yes"}, "",
			"node/hlf-peer--org2--peer0 restored: mychannel at 41\n",
			`["--only-org=Org2","--accept=unverified","--key=late"]`,
		},
		"Cancel": {
			"A restore that failed can be taken back.",
			[]string{"restore", "morning", "--cancel", "--yes"}, "",
			"backup/morning restore cancelled\n",
			`["--cancel","--key=morning"]`,
		},
		"DryRun": {
			"What would be restored is said, and no workflow is submitted.",
			[]string{"restore", "morning", "--org", "Org1", "--dry-run", "server"}, "",
			"node/hlf-peer--org1--peer0 would be restored: mychannel at 40\n",
			"",
		},
		"Names": {
			"Names can be piped.",
			[]string{"restore", "morning", "--org", "Org1", "--yes", "-o", "name"}, "",
			"node/hlf-peer--org1--peer0\n",
			`["--only-org=Org1","--key=morning"]`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newRestorer(t)
			code, stdout, stderr := u.typing(tc.answer, tc.args...)
			if d := cmp.Diff(tc.want, stdout); d != "" || code != exit.OK {
				t.Fatalf("%s\npivt %s: exit %d; -want, +got:\n%s\n%s", tc.reason, strings.Join(tc.args, " "), code, d, stderr)
			}
			if d := cmp.Diff(tc.values, u.restoreArgs()); d != "" {
				t.Errorf("%s\nthe restore step is called with: -want, +got:\n%s", tc.reason, d)
			}
		})
	}
}

// restoreArgs are those of the submitted workflow's step, "" if there is none.
func (u *saver) restoreArgs() string {
	u.Helper()
	for _, wf := range u.workflows() {
		for _, tmpl := range wf.Spec.Templates {
			if tmpl.Name != "restore" {
				continue
			}
			var args []string
			for _, a := range tmpl.Container.Args[2:] {
				if !strings.HasPrefix(a, "--created=") && !strings.HasPrefix(a, "--action=") {
					args = append(args, a)
				}
			}
			text, err := json.Marshal(args)
			u.must(err)
			return string(text)
		}
	}
	return ""
}

// TestRestoreRefused are restores that nothing comes of.
func TestRestoreRefused(t *testing.T) {
	t.Parallel()
	const usage = "\nUsage: pivt restore [KEY] [flags]\n       pivt restore --help shows more\n"
	cases := map[string]struct {
		reason  string
		arrange func(*saver)
		args    []string
		answer  string
		code    exit.Code
		want    string
	}{
		"NoKey": {
			"Restoring just anything would be the worst default there is.", nil,
			[]string{"restore"}, "", exit.Invalid,
			"which backup? give its KEY, or a time with --at; \"pivt backup list\" shows the keys" + usage,
		},
		"Both": {
			"One of two wishes would be ignored.", nil,
			[]string{"restore", "morning", "--at", "2h"}, "", exit.Invalid, "KEY and --at exclude each other" + usage,
		},
		"BadMoment": {
			"The two ways to write it are shown.", nil,
			[]string{"restore", "--at", "yesterday"}, "", exit.Invalid,
			"--at \"yesterday\": write a time as 2026-11-21T03:00:00Z, or how long ago, as 2h or 7d" + usage,
		},
		"TooEarly": {
			"Before the first backup there is nothing.", nil,
			[]string{"restore", "--at", "2026-11-21T02:00:00Z"}, "", exit.Failed,
			"no verified backup was finished by 2026-11-21T02:00:00Z\nHint:  \"pivt backup list\" shows what there is\n",
		},
		"BadRisk": {
			"A misspelled risk must not be taken for consent to another.", nil,
			[]string{"restore", "morning", "--accept", "everything"}, "", exit.Invalid,
			"nothing called \"everything\" can be accepted; known: newer-data, missing-parts, other-network, unverified, overwrite" + usage,
		},
		"UnknownNode": {
			"The known ones are told.", nil,
			[]string{"restore", "morning", "--node", "peer9"}, "", exit.Invalid,
			"node \"peer9\" is not in crypto-config.yaml; known nodes: hlf-orderer--orderer--orderer0, hlf-orderer--orderer--orderer1, hlf-orderer--orderer--orderer2, hlf-peer--org1--peer0, hlf-peer--org2--peer0" + usage,
		},
		"Unverified": {
			"A backup that nobody has verified is only a promise.", nil,
			[]string{"restore", "late", "--yes"}, "", exit.NotReady,
			"backup late: it has not been verified; nothing was changed\nHint:  if that is what you want: --accept unverified; \"pivt backup verify late\" proves it whole\n",
		},
		"NoOrderers": {
			"Nodes that are deployed and then refused are a change that nobody wanted.",
			func(u *saver) {
				u.empty()
				u.vault.manifests["morning"].Nodes = u.vault.manifests["morning"].Nodes[:2]
			},
			[]string{"restore", "morning", "--yes"}, "", exit.NotReady,
			"backup morning: it has no copy of hlf-orderer--orderer--orderer0, hlf-orderer--orderer--orderer1, hlf-orderer--orderer--orderer2; nothing was changed\n" +
				"Hint:  if that is what you want: --accept missing-parts\n",
		},
		"AllReasons": {
			"Whoever accepts one thing should know of the other.",
			func(u *saver) { u.vault.manifests["late"].Nodes = u.vault.manifests["late"].Nodes[1:] },
			[]string{"restore", "late", "--dry-run=client"}, "", exit.NotReady,
			"backup late: it has not been verified; it has no copy of hlf-peer--org1--peer0; nothing was changed\n" +
				"Hint:  if that is what you want: --accept unverified,missing-parts; \"pivt backup verify late\" proves it whole\n",
		},
		"BeforeDecryption": {
			"What needs no keys is refused before keys are on the disk.",
			func(u *saver) {
				u.empty()
				u.sealed("morning", u.n)
				u.vault.manifests["morning"].Nodes = u.vault.manifests["morning"].Nodes[:4]
			},
			[]string{"restore", "morning", "--yes", "--crypto-config", "back", "--passphrase-file", "passphrase.txt"}, "", exit.NotReady,
			"backup morning: it has no copy of hlf-orderer--orderer--orderer2; nothing was changed\nHint:  if that is what you want: --accept missing-parts\n",
		},
		"KeysOfAnother": {
			"Keys that turn out to be of another network are not left behind.",
			func(u *saver) {
				u.empty()
				u.sealed("morning", u.n)
				u.vault.manifests["morning"].Identity = backup.Identity{Orgs: []backup.OrgIdentity{{MSPID: "Org1MSP", Kind: "peer", CAs: []string{"abc"}}}}
			},
			[]string{"restore", "morning", "--yes", "--crypto-config", "back", "--passphrase-file", "passphrase.txt"}, "", exit.NotReady,
			"the target is not the network that was saved: by the keys in back, peer org Org1 has other CAs; nothing was changed\n" +
				"Hint:  name the directory of its keys with --crypto-dir; if another network is what you want: --accept other-network\n",
		},
		"Unknown": {
			"What the repository says is passed on.", nil,
			[]string{"restore", "broken", "--yes"}, "", exit.Failed, "there is no backup broken\n",
		},
		"Unconfirmed": {
			"A script must say that it means it, and reads what it would do.", nil,
			[]string{"restore", "morning"}, "", exit.Invalid,
			"this stops 5 nodes in namespace fabric and replaces their data by backup morning, which is 9h old (verified); transactions made since then are lost, unless nodes that stay have them; give --yes to confirm\n",
		},
		"SaidNo": {
			"Anything but yes is no.", nil,
			[]string{"restore", "morning"}, "y\n", exit.Invalid, "not confirmed; nothing was changed\n",
		},
		"NoKeys": {
			"Nodes deployed with new keys would be another network.",
			func(u *saver) { u.cluster.Delete("statefulsets", testNamespace, "hlf-peer--org1--peer0") },
			[]string{"restore", "morning", "--yes"}, "", exit.NotReady,
			"the target is not the network that was saved: its keys are not in crypto-config (...); nothing was changed\n" +
				"Hint:  name the directory of its keys with --crypto-dir, or have those decrypted that were saved with it: --crypto-config DIR --passphrase-file FILE; " +
				"if another network is what you want: --accept other-network\n",
		},
		"OtherKeys": {
			"So would nodes with the keys of a network of the same names.",
			func(u *saver) {
				u.cluster.Delete("statefulsets", testNamespace, "hlf-peer--org1--peer0")
				u.mustRun("crypto", "generate")
				u.vault.manifests["morning"].Identity = backup.Identity{Orgs: []backup.OrgIdentity{{MSPID: "Org1MSP", Kind: "peer", CAs: []string{"abc"}}}}
			},
			[]string{"restore", "morning", "--yes"}, "", exit.NotReady,
			"the target is not the network that was saved: by the keys in crypto-config, peer org Org1 has other CAs; nothing was changed\n" +
				"Hint:  name the directory of its keys with --crypto-dir; if another network is what you want: --accept other-network\n",
		},
		"KeysNotSaved": {
			"What was not saved cannot come back.",
			func(u *saver) { u.write("passphrase.txt", "correct horse battery") },
			[]string{"restore", "morning", "--yes", "--crypto-config", "back", "--passphrase-file", "passphrase.txt"}, "", exit.Invalid,
			"backup morning was made without crypto-config; nothing was changed\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newRestorer(t)
			if tc.arrange != nil {
				tc.arrange(u)
			}
			before := u.objects()
			code, stdout, stderr := u.typing(tc.answer, tc.args...)
			text := regexp.MustCompile(`crypto-config \(.*\);`).ReplaceAllString(failing(stderr), "crypto-config (...);")
			if d := cmp.Diff(tc.want, text); d != "" || code != tc.code || stdout != "" {
				t.Errorf("%s\npivt %s: exit %d, want %d, stdout %q; -want, +got:\n%s", tc.reason, strings.Join(tc.args, " "), code, tc.code, stdout, d)
			}
			if d := cmp.Diff(before, u.objects()); d != "" {
				t.Errorf("%s\nsomething was changed: -before, +after:\n%s", tc.reason, d)
			}
			u.noDirectory("back")
		})
	}
}

// TestRestoreInterrupted goes on with the same nodes, not with all.
func TestRestoreInterrupted(t *testing.T) {
	t.Parallel()
	u := newRestorer(t)
	u.cluster.HoldTasks()
	ctx, interrupt := context.WithCancelCause(t.Context())
	defer interrupt(nil)
	s, _, stderr := u.state("restore", "morning", "--org", "Org1", "--accept", "newer-data", "--yes", "--kubeconfig", u.cluster.Kubeconfig(testNamespace))
	s.Stderr = hearing{stderr, "network: running", func() { interrupt(errInterrupted) }}
	s.Ask = u.vault.ask
	code := Run(ctx, s)
	said := regexp.MustCompile(` --kubeconfig \S+;`).ReplaceAllString(stderr.String(), ";") // the test's
	if code != exit.Interrupted || !strings.Contains(said, "follow it again: pivt restore morning --org Org1 --accept newer-data; or stop it: argo -n fabric stop backup-flow-") {
		t.Errorf("exit %d\n%s", code, stderr)
	}
}

// TestRestoreFails tells how to go on with nodes that stay stopped.
func TestRestoreFails(t *testing.T) {
	t.Parallel()
	u := newRestorer(t)
	u.cluster.FailTask("restore", deploytest.TaskFailure{ExitCode: 1, Message: "hlf-peer--org1--peer0: no space left"})
	u.hold("hlf-peer--org1--peer0", keeper.ByRestore, "morning")
	code, _, stderr := u.pivt("restore", "morning", "--yes")
	for _, want := range []string{"restore: hlf-peer--org1--peer0: no space left\n", `repeat the same "pivt restore morning" command to go on, or "pivt restore morning --cancel" puts back what was there`} {
		if code != exit.Failed || !strings.Contains(stderr, want) {
			t.Errorf("exit %d, stderr lacks %q:\n%s", code, want, stderr)
		}
	}
}

// TestRestoreRefusedInside is a restore that the step refuses, which sees what runs.
func TestRestoreRefusedInside(t *testing.T) {
	t.Parallel()
	u := newRestorer(t)
	u.cluster.FailTask("check", deploytest.TaskFailure{ExitCode: 3, Message: "hlf-peer--org1--peer0 runs with newer data\nHint: if that is what you want: --accept newer-data"})
	code, _, stderr := u.pivt("restore", "morning", "--yes")
	if code != exit.NotReady || !strings.HasSuffix(stderr, "check: hlf-peer--org1--peer0 runs with newer data\nHint:  if that is what you want: --accept newer-data\n") {
		t.Errorf("exit %d, want 3:\n%s", code, stderr)
	}
}

// TestDeletePruneSchedule are the small ones.
func TestDeletePruneSchedule(t *testing.T) {
	t.Parallel()
	u := newRestorer(t)
	u.vault.add("noon", today(12), true, sample())
	if got := u.mustRun("backup", "prune", "--dry-run=client", "--set", "backup.keep.last=1"); got != "backup/late would be deleted\nbackup/morning would be deleted\n" {
		t.Errorf("prune --dry-run=client: %q", got)
	}
	if runs := u.cluster.Names("workflows", testNamespace); len(runs) > 0 {
		t.Errorf("a dry run submitted %v", runs)
	}
	if got := u.mustRun("backup", "prune", "--set", "backup.keep.last=9"); got != "" || len(u.cluster.Names("workflows", testNamespace)) > 0 {
		t.Errorf("a prune of nothing: %q", got)
	}
	k := keeper.Keeper{Kube: u.core().Core(), Namespace: testNamespace}
	u.must(k.Record(u.Context(), backup.Status{LastVerified: &backup.Event{Key: "morning", Time: today(3)}, Last: &backup.Event{Key: "late", Time: today(11)}}))
	if got := u.mustRun("backup", "delete", "late", "morning", "--yes"); got != "backup/late deleted\nbackup/morning deleted\n" {
		t.Errorf("delete: %q", got)
	}
	status, err := keeper.ReadStatus(u.Context(), u.core().Core(), testNamespace)
	u.must(err)
	if d := cmp.Diff(backup.Status{LastVerified: &backup.Event{Key: "noon", Time: today(12)}}, status); d != "" {
		t.Errorf("the cluster remembers of what was deleted: -want, +got:\n%s", d)
	}
	if d := cmp.Diff([]string{"list", "list", "list", "delete late morning"}, u.vault.asked); d != "" {
		t.Errorf("the repository was asked: -want, +got:\n%s", d)
	}
	u.write("network.yaml", strings.Replace(u.read("network.yaml"), "backup: {", `backup: {schedule: "0 3 * * *", `, 1))
	for _, step := range []struct{ flag, want string }{
		{"", "cronworkflow/hlf-backup created\n"}, {"", "cronworkflow/hlf-backup unchanged\n"},
		{"--suspend", "cronworkflow/hlf-backup configured\n"}, {"--suspend", "cronworkflow/hlf-backup unchanged\n"}, {"", "cronworkflow/hlf-backup configured\n"},
		{"--remove", "cronworkflow/hlf-backup deleted\n"}, {"--remove", "cronworkflow/hlf-backup unchanged\n"},
	} {
		args := []string{"backup", "schedule"}
		if step.flag != "" {
			args = append(args, step.flag)
		}
		if got := u.mustRun(args...); got != step.want {
			t.Errorf("schedule %s: %q, want %q", step.flag, got, step.want)
		}
	}
	u.mustRun("backup", "schedule")
	if got := u.mustRun("uninstall", "--yes"); !strings.Contains(got, "cronworkflow/hlf-backup deleted\n") || len(u.cluster.Names("cronworkflows", testNamespace)) > 0 {
		t.Errorf("a schedule outlives its network: %q", got)
	}
	// A schedule in the files keeps nobody from a backup now.
	u.mustRun("backup", "verify", "noon")
}

// TestStatusOfBackups reads the last lines of status.
func TestStatusOfBackups(t *testing.T) {
	t.Parallel()
	u := newSaver(t)
	u.mustRun("crypto", "generate")
	u.hold("hlf-peer--org1--peer0", keeper.ByRestore, "morning")
	k := keeper.Keeper{Kube: u.core().Core(), Namespace: testNamespace}
	u.must(k.Record(u.Context(), backup.Status{LastVerified: &backup.Event{Key: "morning", Time: today(3)}, Last: &backup.Event{Key: "late", Time: today(11)},
		LastFailure: &backup.Event{Key: "noon", Time: today(12).Add(-5 * time.Minute), Message: "the repository is full"}}))
	_, stdout, _ := u.pivt("status")
	want := `
last verified backup: morning, 9h old
not verified yet: late, 60m old; "pivt backup verify late"
last failed backup: noon, 5m ago: the repository is full
held by restore morning since 2026-11-21T11:00:00Z: repeat the same "pivt restore morning" command to go on, or "pivt restore morning --cancel" puts back what was there
`
	if !strings.HasSuffix(stdout, want) || !strings.Contains(stdout, "not ready   stopped by restore morning\n") {
		t.Errorf("status:\n%s", stdout)
	}
	_, stdout, _ = u.pivt("status", "-o", "json")
	for _, want := range []string{`"lastVerified": {`, `"held": {`, `"by": "restore"`} {
		if !strings.Contains(stdout, want) {
			t.Errorf("status -o json lacks %s:\n%s", want, stdout)
		}
	}
	if _, stdout, _ = u.pivt("check"); !strings.Contains(stdout, `hint: repeat the same "pivt restore morning" command to go on`) {
		t.Errorf("check has no cure for the held node:\n%s", stdout)
	}
}
