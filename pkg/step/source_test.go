package step_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/step"
)

const sourceYAML = `
network:
  channels:
    - name: mychannel
      orgs: [Org1, Org2]
      batch: {timeout: 100ms}
  chaincodes:
    - name: basic
      version: "1.0"
      source: ./basic
      language: golang
      channels: [{name: mychannel}]
`

// packages stands in for a depot: package v is what the label has, in a shape that peers take.
func packages(v string) func(context.Context, *network.Chaincode, *network.Org) ([]byte, error) {
	return func(_ context.Context, cc *network.Chaincode, o *network.Org) ([]byte, error) {
		made := *cc
		made.Source, made.Image = "", "example.com/"+v+"@"+digest
		return chaincode.Package(&made, o)
	}
}

// sources is a bring-up of a source chaincode up to the commit.
func newSourceWorld(t *testing.T, yaml string) *world {
	t.Helper()
	w := newWorld(t, cryptoConfig, yaml)
	w.env.Package = packages("one")
	w.channels()
	return w
}

func TestSourceIsInstalledAndUpgraded(t *testing.T) {
	t.Parallel()
	w := newSourceWorld(t, sourceYAML)
	if diff := cmp.Diff([]string{"install-basic-org1", "install-basic-org2", "commit-basic", "smoke-basic"}, w.todo("chaincode")); diff != "" {
		t.Errorf("probe of a new source chaincode: -want, +got:\n%s", diff)
	}
	w.installs()
	w.commits()
	w.must("smoke", step.Params{Chaincode: "basic"}, "", "Org1")
	if todo := w.todo("chaincode"); len(todo) > 0 {
		t.Errorf("probe afterwards: %v", todo)
	}

	w.env.Package = packages("two")
	_, err := w.run("install", step.Params{Chaincode: "basic", Org: "Org2", Wait: time.Minute}, "Org2")
	if exit.CodeOf(err) != exit.Invalid || !strings.Contains(exit.HintOf(err), "pivt chaincode upgrade --include basic") {
		t.Errorf("changed source under the same version: %v (hint %q)", err, exit.HintOf(err))
	}
	v2 := w.with(cryptoConfig, strings.Replace(sourceYAML, `"1.0"`, `"2.0"`, 1))
	v2.env.Package = packages("two")
	v2.installs()
	v2.commits()
	v2.must("smoke", step.Params{Chaincode: "basic"}, "", "Org1")

	// Back again: the peers have the package, so nothing is built.
	w.env.Package = packages("one")
	w.installs()
	w.commits()
	w.must("smoke", step.Params{Chaincode: "basic"}, "", "Org1")
	if n := w.nodes.Builds(w.node("org2"), "basic_1.0"); n != 1 {
		t.Errorf("the former version was built %d times, want once", n)
	}
}

// Where packages come from has bad moments, and bad news.
func TestSourcePackage(t *testing.T) {
	t.Parallel()
	w := newSourceWorld(t, sourceYAML)
	var asked atomic.Int32
	w.env.Package = func(ctx context.Context, cc *network.Chaincode, o *network.Org) ([]byte, error) {
		if asked.Add(1) < 3 {
			return nil, exit.Transient(errors.New("the API server is restarting"))
		}
		return packages("one")(ctx, cc, o)
	}
	w.must("install", step.Params{Chaincode: "basic", Org: "Org1", Wait: time.Minute}, "Org1")

	w.env.Package = func(context.Context, *network.Chaincode, *network.Org) ([]byte, error) {
		return nil, exit.WithHint(errors.New("package absent"), "pivt chaincode push")
	}
	_, err := w.run("install", step.Params{Chaincode: "basic", Org: "Org2", Wait: time.Minute}, "Org2")
	if exit.CodeOf(err) != exit.Failed || exit.HintOf(err) != "pivt chaincode push" {
		t.Errorf("install without a package: %v (hint %q)", err, exit.HintOf(err))
	}
}

// Going back must not depend on a package that somebody has long since removed from where it
// was stored, if the peers still have it.
func TestFormerPackageOfPeers(t *testing.T) {
	t.Parallel()
	two := strings.ReplaceAll(cryptoConfig, "Template: {Count: 1}", "Template: {Count: 2}")
	w := newWorld(t, two, sourceYAML)
	w.env.Package = packages("one")
	w.channels()
	w.nodes.Stop(w.node("org1--peer1"))
	if _, err := w.run("install", step.Params{Chaincode: "basic", Org: "Org1"}, "Org1"); exit.CodeOf(err) != exit.TryAgain {
		t.Fatalf("install while a peer is down: %v", err)
	}
	w.nodes.Start(w.node("org1--peer1"))

	w.env.Package = func(context.Context, *network.Chaincode, *network.Org) ([]byte, error) {
		return nil, errors.New("package absent")
	}
	r := w.must("install", step.Params{Chaincode: "basic", Org: "Org1", Wait: time.Minute}, "Org1")
	if len(r.Changed) != 2 || !strings.Contains(r.Changed[0], "installed on hlf-peer--org1--peer1") {
		t.Errorf("install from the peer that has it changed %q", r.Changed)
	}

	// Two packages of one label: which one is meant?
	next := w.with(two, sourceYAML)
	next.env.Package = packages("two")
	next.must("install", step.Params{Chaincode: "basic", Org: "Org1", Wait: time.Minute}, "Org1")
	if _, err := w.run("install", step.Params{Chaincode: "basic", Org: "Org1", Wait: time.Minute}, "Org1"); exit.CodeOf(err) != exit.Failed ||
		err.Error() != "package absent" {
		t.Errorf("install while peers have two packages of the label: %v", err)
	}
}

// A package that somebody else made has the label they liked.
func TestForeignPackage(t *testing.T) {
	t.Parallel()
	w := newSourceWorld(t, strings.Replace(sourceYAML, "source: ./basic\n      language: golang", "package: oci://example.com/basic@"+digest, 1))
	w.env.Package = func(ctx context.Context, cc *network.Chaincode, o *network.Org) ([]byte, error) {
		foreign := *cc
		foreign.Name, foreign.Package = "theirs", ""
		return packages("one")(ctx, &foreign, o)
	}
	for range 2 {
		w.installs()
		w.commits()
		w.must("smoke", step.Params{Chaincode: "basic"}, "", "Org1")
	}
	if n := w.nodes.Builds(w.node("org1"), "theirs_1.0"); n != 1 {
		t.Errorf("built %d times, want once", n)
	}

	w.env.Package = func(context.Context, *network.Chaincode, *network.Org) ([]byte, error) {
		return []byte("no package"), nil
	}
	if _, err := w.run("install", step.Params{Chaincode: "basic", Org: "Org1", Wait: time.Minute}, "Org1"); exit.CodeOf(err) != exit.Failed ||
		!strings.Contains(err.Error(), "reading a chaincode package") {
		t.Errorf("install of what is no package: %v", err)
	}
}

// A compile error will not go away by trying again, and each try costs minutes.
func TestBrokenBuildIsFinal(t *testing.T) {
	t.Parallel()
	w := newSourceWorld(t, strings.Replace(sourceYAML, "name: basic", "name: broken", 1))
	_, err := w.run("install", step.Params{Chaincode: "broken", Org: "Org1", Wait: time.Minute}, "Org1")
	if exit.CodeOf(err) != exit.Failed || !strings.Contains(err.Error(), "could not build chaincode") || !strings.Contains(exit.HintOf(err), "kubectl logs hlf-peer--org1--peer0-0") {
		t.Errorf("install of what does not build: %v (hint %q)", err, exit.HintOf(err))
	}
	if n := w.nodes.Builds(w.node("org1"), "broken_1.0"); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
}

// Two flows install the same at the same time: the second waits for the first one's build.
func TestInstallJoinsBuild(t *testing.T) {
	t.Parallel()
	w := newSourceWorld(t, sourceYAML)
	w.nodes.HoldBuilds(w.node("org1"), true)
	done := make(chan error, 2)
	for range 2 {
		second := *w
		go func() {
			_, err := second.run("install", step.Params{Chaincode: "basic", Org: "Org1", Wait: time.Minute}, "Org1")
			done <- err
		}()
	}
	for w.nodes.Builds(w.node("org1"), "basic_1.0") == 0 {
		select {
		case err := <-done:
			t.Fatalf("install did not wait for the build: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	w.nodes.HoldBuilds(w.node("org1"), false)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := w.nodes.Builds(w.node("org1"), "basic_1.0"); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
}

func TestInitCall(t *testing.T) {
	t.Parallel()
	yaml := strings.Replace(networkYAML, "      channels:", "      init: {function: init, args: [\"1\"]}\n      channels:", 1)
	w := newWorld(t, cryptoConfig, yaml)
	w.channels()
	w.installs()
	w.commits()
	if diff := cmp.Diff([]string{"smoke-basic"}, w.todo("chaincode")); diff != "" {
		t.Errorf("probe while the init call is missing: -want, +got:\n%s", diff)
	}
	want := []string{"chaincode basic: init call init submitted to channel mychannel by Org1"}
	for _, run := range []struct {
		what string
		p    step.Params
		want []string
	}{
		{"dry run of smoke", step.Params{Chaincode: "basic", DryRun: true}, want},
		{"smoke", step.Params{Chaincode: "basic"}, want},
		{"smoke again", step.Params{Chaincode: "basic"}, nil},
		{"dry run of smoke afterwards", step.Params{Chaincode: "basic", DryRun: true}, nil},
	} {
		r := w.must("smoke", run.p, "", "Org1")
		if diff := cmp.Diff(run.want, r.Changed); diff != "" || len(r.Verified) != 1 {
			t.Errorf("%s: -want, +got:\n%s(verified %q)", run.what, diff, r.Verified)
		}
	}
	if todo := w.todo("chaincode"); len(todo) > 0 {
		t.Errorf("probe afterwards: %v", todo)
	}

	// A new version needs its own call. So does, to Fabric, a version that comes back.
	v2 := w.with(cryptoConfig, strings.Replace(yaml, `version: "1.0"`, `version: "2.0"`, 1))
	for _, next := range []*world{v2, w} {
		next.installs()
		next.commits()
		if diff := cmp.Diff([]string{"smoke-basic"}, next.todo("chaincode")); diff != "" {
			t.Errorf("probe after another version: -want, +got:\n%s", diff)
		}
		if r := next.must("smoke", step.Params{Chaincode: "basic"}, "", "Org2"); len(r.Changed) != 1 {
			t.Errorf("smoke of another version changed %q", r.Changed)
		}
	}

	refused := w.with(cryptoConfig, strings.NewReplacer("function: init", "function: fail", `"1.0"`, `"3.0"`).Replace(yaml))
	refused.installs()
	refused.commits()
	_, err := refused.run("smoke", step.Params{Chaincode: "basic", Wait: time.Minute}, "", "Org1")
	if exit.CodeOf(err) != exit.Failed || !strings.Contains(err.Error(), "init call fail") || !strings.Contains(err.Error(), "this function fails") {
		t.Errorf("an init call that the chaincode refuses: %v", err)
	}
}

// Everything that is part of a definition is applied as the next sequence, also without a new
// version.
func TestChangedDefinition(t *testing.T) {
	t.Parallel()
	collections := "\n      collections: [{name: secrets, policy: \"OR('Org1MSP.member','Org2MSP.member')\", requiredPeerCount: 0, maxPeerCount: 1, blockToLive: 0, memberOnlyRead: true}]"
	w := newWorld(t, cryptoConfig, networkYAML)
	w.channels()
	w.installs()
	w.commits()
	for i, change := range []func(string) string{
		func(s string) string {
			return strings.Replace(s, "{name: mychannel}", `{name: mychannel, policy: "OR('Org1MSP.peer','Org2MSP.peer')"}`, 1)
		},
		func(s string) string {
			return strings.Replace(s, "\n      channels: [{name: mychannel", collections+"\n      channels: [{name: mychannel", 1)
		},
		func(s string) string {
			return strings.Replace(s, "\n      channels: [{name: mychannel", "\n      init: {function: init}\n      channels: [{name: mychannel", 1)
		},
		func(string) string { return networkYAML },
	} {
		w = w.with(cryptoConfig, change(w.files[1]))
		if diff := cmp.Diff([]string{"install-basic-org1", "install-basic-org2", "commit-basic", "smoke-basic"}, w.todo("chaincode")); diff != "" {
			t.Errorf("probe after change %d: -want, +got:\n%s", i, diff)
		}
		w.installs()
		r := w.must("commit", step.Params{Chaincode: "basic"}, "", "Org2")
		if len(r.Changed) != 1 || !strings.Contains(r.Changed[0], "version 1.0, sequence "+string(rune('2'+i))+" committed") {
			t.Errorf("commit after change %d: %q", i, r.Changed)
		}
		w.must("smoke", step.Params{Chaincode: "basic"}, "", "Org1")
		if todo := w.todo("chaincode"); len(todo) > 0 {
			t.Errorf("probe after change %d was applied: %v", i, todo)
		}
	}
}
