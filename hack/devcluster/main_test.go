package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pivt.io/pivt/hack/devcluster/cluster"
)

func TestRunUsage(t *testing.T) {
	cases := map[string]struct {
		reason string
		args   []string
		says   string
	}{
		"NoCommand":      {reason: "Starting or removing a cluster is nothing to guess.", says: "no command"},
		"UnknownCommand": {reason: "A slip of the pen is named.", args: []string{"upp"}, says: `unknown command "upp"`},
		"UnknownFlag":    {reason: "A flag that is not understood changes what was meant.", args: []string{"up", "--nodes=3"}, says: "--nodes=3"},
		"Argument":       {reason: "No command takes an argument; one that is given means something the command does not do.", args: []string{"down", "now"}, says: "down now"},
		"BuildersOnly":   {reason: "One of the builders' images holds a program of the project.", args: []string{"images", "--builders"}, says: "--builders"},
		"FlagOfAnother":  {reason: "A project says nothing to down.", args: []string{"down", "--project=."}, says: "--project"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PIVT_STATE", filepath.Join(os.TempDir(), "no-such-cluster"))
			t.Setenv("PIVT_CACHE", t.TempDir())
			err := run(context.Background(), tc.args, &bytes.Buffer{})
			if code(err) != 2 || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s\nrun: got %v (exit %d), want exit 2 and %q", tc.reason, err, code(err), tc.says)
			}
		})
	}
}

func TestRunElsewhere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := run(context.Background(), []string{"status"}, &bytes.Buffer{}); code(err) != 2 {
		t.Errorf("outside the module, where no parts are: got %v (exit %d), want exit 2", err, code(err))
	}
}

func TestRunWithoutCluster(t *testing.T) {
	state := filepath.Join("/tmp", fmt.Sprintf("pivt-test-%d", os.Getpid()))
	t.Setenv("PIVT_STATE", state)
	t.Setenv("PIVT_CACHE", t.TempDir())
	cases := map[string]struct {
		reason string
		want   int
	}{
		"status":     {reason: "A script asks whether the cluster is up; 3 is the project's code for no.", want: 3},
		"kubeconfig": {reason: "There is none, and an empty file would send kubectl to localhost.", want: 3},
		"down":       {reason: "Nothing to remove is what down is for.", want: 0},
		"env":        {reason: "The programs are there without a cluster.", want: 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if err := run(context.Background(), []string{name}, &bytes.Buffer{}); code(err) != tc.want {
				t.Errorf("%s\nrun: got %v (exit %d), want exit %d", tc.reason, err, code(err), tc.want)
			}
		})
	}
}

func TestEnv(t *testing.T) {
	t.Setenv("PIVT_STATE", "/tmp/it's here")
	t.Setenv("PIVT_CACHE", t.TempDir())
	t.Setenv("HTTPS_PROXY", "http://proxy:3128")
	t.Setenv("NO_PROXY", "localhost")
	var out bytes.Buffer
	if err := run(context.Background(), []string{"env"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`export KUBECONFIG='/tmp/it'\''s here/kubeconfig'`,
		"export NO_PROXY='localhost," + cluster.NodeIP + "' no_proxy='localhost," + cluster.NodeIP + "'",
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("env printed\n%s\nwithout the line %s", out.String(), want)
		}
	}
}

func TestWithoutProxy(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, list, want string }{
		"Empty":   {reason: "An empty list becomes the address, not a list with an empty entry.", list: "", want: "10.0.0.1"},
		"Added":   {reason: "What the user exempts stays exempt.", list: "localhost", want: "localhost,10.0.0.1"},
		"Already": {reason: "The list does not grow with every shell that evaluates env.", list: "10.0.0.1,localhost", want: "10.0.0.1,localhost"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := withoutProxy(tc.list, "10.0.0.1"); got != tc.want {
				t.Errorf("%s\nwithoutProxy(%q): got %q, want %q", tc.reason, tc.list, got, tc.want)
			}
		})
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		err    error
		want   int
	}{
		"Nil":         {reason: "Success is 0.", want: 0},
		"Interrupted": {reason: "A shell expects 130 after Ctrl-C, wherever it struck.", err: fmt.Errorf("building: %w", context.Canceled), want: 130},
		"NotUp":       {reason: "3 is not the wanted state.", err: fmt.Errorf("%w: etcd has ended", cluster.ErrNotUp), want: 3},
		"Other":       {reason: "Everything else is a failure.", err: errors.New("disk full"), want: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := code(tc.err); got != tc.want {
				t.Errorf("%s\ncode(%v): got %d, want %d", tc.reason, tc.err, got, tc.want)
			}
		})
	}
}
