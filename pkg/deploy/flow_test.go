package deploy_test

import (
	"slices"
	"testing"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/deploy/deploytest"
	"pivt.io/pivt/pkg/exit"
)

// TestRunFlow runs single flows on a network that has been installed.
func TestRunFlow(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		flow    deploy.Flow
		include []string
		more    string // merged over the files
		arrange func(*deploytest.Cluster)
		want    []string
		title   string
		code    exit.Code
	}{
		"UpToDate": {
			reason: "All channels are looked at, and nothing is to be done.",
			flow:   deploy.ChannelFlow,
			want:   []string{"channel/common unchanged", "channel/private.karga unchanged"},
			title:  "channels common, private.karga skipped",
		},
		"Named": {
			reason:  "A channel that was not named is not looked at, though it has something to be done.",
			flow:    deploy.ChannelFlow,
			include: []string{"private.karga"},
			arrange: func(c *deploytest.Cluster) { c.Undo("join-common-karga"); c.Undo("join-private-karga-karga") },
			want:    []string{"channel/private.karga configured"},
			title:   "channel private.karga done",
		},
		"IncludedByFile": {
			reason:  "PIVT's flow.chaincode.include chooses as names on the command line do.",
			flow:    deploy.ChaincodeFlow,
			more:    "flow: {chaincode: {include: [secured]}}",
			arrange: func(c *deploytest.Cluster) { c.Undo("commit-basic"); c.Undo("commit-secured") },
			want:    []string{"chaincode/secured configured"},
			title:   "chaincode secured done",
		},
		"NamedAgainstFile": {
			reason:  "What is named on the command line overrides the file.",
			flow:    deploy.ChaincodeFlow,
			more:    "flow: {chaincode: {include: [secured]}}",
			include: []string{"basic"},
			want:    []string{"chaincode/basic unchanged"},
			title:   "chaincode basic skipped",
		},
		"None": {
			reason: "A network without chaincodes needs no workflow.",
			flow:   deploy.ChaincodeFlow,
			more:   "network: {chaincodes: []}",
			title:  "chaincodes skipped",
		},
		"WithoutCode": {
			reason: "A chaincode whose code the files do not name is not deployed by the flow, and no line may claim it is.",
			flow:   deploy.ChaincodeFlow,
			more:   "network: {chaincodes: [{name: old, version: \"1.0\", language: golang, channels: [{name: common}]}]}",
			title:  "chaincodes skipped",
		},
		"ProbeFails": {
			reason: "Where nothing could be seen, nothing is said to be unchanged.",
			flow:   deploy.ChannelFlow,
			arrange: func(c *deploytest.Cluster) {
				c.FailTask("probe", deploytest.TaskFailure{ExitCode: 1, Message: "no client key"})
			},
			title: "channels common, private.karga failed",
			code:  exit.Failed,
		},
		"OneFails": {
			reason: "What was done for the other chaincode is told; of the one that failed, nothing is known to have changed.",
			flow:   deploy.ChaincodeFlow,
			arrange: func(c *deploytest.Cluster) {
				c.Undo("commit-basic")
				c.Undo("commit-secured")
				c.FailTask("commit-secured", deploytest.TaskFailure{ExitCode: 1, Message: "policy"})
			},
			want:  []string{"chaincode/basic configured"},
			title: "chaincodes basic, secured failed",
			code:  exit.Failed,
		},
		"TriesUsedUp": {
			reason: "A step whose last word is \"try later\" has run out of time, which is not a failure of the files.",
			flow:   deploy.ChaincodeFlow,
			arrange: func(c *deploytest.Cluster) {
				c.Undo("smoke-basic")
				c.FailTask("smoke-basic", deploytest.TaskFailure{ExitCode: 75, Message: "peer0 is not ready"})
			},
			title: "chaincodes basic, secured failed",
			code:  exit.TimedOut,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBringUp(t)
			b.mustInstall()
			if tc.arrange != nil {
				tc.arrange(b.cluster)
			}
			s := &story{}
			var more []string
			if tc.more != "" {
				more = append(more, tc.more)
			}
			changes, err := b.deployment(s, more...).RunFlow(t.Context(), tc.flow, tc.include)
			s.check(t)
			if exit.CodeOf(err) != tc.code {
				t.Errorf("%s\nexit %d, error %v; want exit %d", tc.reason, exit.CodeOf(err), err, tc.code)
			}
			diff(t, tc.reason, tc.want, lines(changes))
			diff(t, tc.reason, []string{tc.title}, s.words())
		})
	}
}

// TestRunFlowLeavesValuesAlone reads the values again that a run was given.
func TestRunFlowLeavesValuesAlone(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.mustInstall()
	d := b.deployment(&story{}, "flow: {channel: {include: [common]}, deadlineSeconds: 600}")
	if _, err := d.RunFlow(t.Context(), deploy.ChannelFlow, []string{"private.karga"}); err != nil {
		t.Fatal(err)
	}
	flow := d.Values["flow"].(map[string]any)
	include := flow["channel"].(map[string]any)["include"].([]any)
	if !slices.Equal(include, []any{"common"}) || flow["deadlineSeconds"] == nil {
		t.Errorf("the run wrote into the files' values: %v", flow)
	}
}
