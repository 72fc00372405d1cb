package deploy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/depot"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

const fromSource = `network: {chaincodes: [{name: built, version: "1.0", source: built, language: golang, channels: [{name: common}]}]}`

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

// TestPackagesAreStored runs the chaincode flow again and again while source and files change.
func TestPackagesAreStored(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.mustInstall()
	free := func(*network.Chaincode) bool { return true }
	steps := []struct {
		reason  string
		change  func()
		replace func(*network.Chaincode) bool
		more    string
		want    []string // changes of packages
		title   string   // of the story's first step
		kind    error
		code    exit.Code
	}{
		{"The package is there before the workflow that installs it.", func() {}, nil, fromSource,
			[]string{"package/built_1.0 created"}, "packages done", nil, exit.OK},
		{"What has not changed is not stored again.", func() {}, nil, fromSource,
			nil, "packages skipped", nil, exit.OK},
		{"A version that may be committed keeps its code.", func() { b.source["util.go"] = file("package main\n") }, nil, fromSource,
			nil, "packages failed", depot.ErrTaken, exit.Invalid},
		{"One that nobody has committed is still being written.", func() {}, free, fromSource,
			[]string{"package/built_1.0 configured"}, "packages done", nil, exit.OK},
		{"A new version is a package of its own.", func() {}, nil, strings.Replace(fromSource, "1.0", "2.0", 1),
			[]string{"package/built_2.0 created"}, "packages done", nil, exit.OK},
		{"Images need no stored package.", func() {}, nil, "flow: {deadlineSeconds: 600}",
			nil, "chaincodes basic, secured skipped", nil, exit.OK},
		{"Source that cannot be packaged ends it before anything is submitted.", func() { clear(b.source) }, free, fromSource,
			nil, "packages failed", nil, exit.Invalid},
	}
	for i, step := range steps {
		step.change()
		s := &story{}
		d := b.deployment(s, step.more)
		d.MayReplace = step.replace
		changes, err := d.RunFlow(t.Context(), deploy.ChaincodeFlow, nil)
		s.check(t)
		stored := slices.DeleteFunc(lines(changes), func(l string) bool { return !strings.HasPrefix(l, "package/") })
		if !slices.Equal(stored, step.want) {
			t.Errorf("step %d: %s\nstored %q, want %q", i, step.reason, stored, step.want)
		}
		if words := s.words(); len(words) == 0 || words[0] != step.title {
			t.Errorf("step %d: %s\nstory %q, want %q first", i, step.reason, words, step.title)
		}
		if step.kind != nil && !errors.Is(err, step.kind) || exit.CodeOf(err) != step.code {
			t.Errorf("step %d: %s\nexit %d, want %d: %v", i, step.reason, exit.CodeOf(err), step.code, err)
		}
	}
	if _, err := b.deployment(&story{}).Uninstall(t.Context(), deploy.UninstallOptions{}); err != nil {
		t.Fatal(err)
	}
	left := slices.DeleteFunc(b.cluster.Names("configmaps", namespace), func(n string) bool { return n == "kube-root-ca.crt" })
	if len(left) > 0 {
		t.Errorf("uninstall left packages: %v", left)
	}
}
