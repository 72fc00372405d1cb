package network_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/cli/values"
	"helm.sh/helm/v3/pkg/strvals"

	"pivt.io/pivt/pkg/network"
)

// helmValues merges as the helm command does with -f and --set.
func helmValues(t *testing.T, sources []network.Source, set []string) (map[string]any, error) {
	t.Helper()
	dir := t.TempDir()
	o := values.Options{Values: set}
	for i, s := range sources {
		file := filepath.Join(dir, string(rune('a'+i))+".yaml")
		if err := os.WriteFile(file, s.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		o.ValueFiles = append(o.ValueFiles, file)
	}
	return o.MergeValues(nil)
}

// TestValuesAreHelms is what makes "helm template -f" and "pivt render" print the same.
func TestValuesAreHelms(t *testing.T) {
	t.Parallel()
	type tc struct {
		reason  string
		sources []network.Source
		set     []string
	}
	one := func(data string) []network.Source { return []network.Source{{Name: "a.yaml", Data: []byte(data)}} }
	all := map[string]tc{
		"Scalars": {
			reason: "Helm reads YAML 1.1: yes is true, 010 is eight, and all numbers are floats.",
			sources: one(`peer: {a: yes, b: Off, c: 010, d: 0x1F, e: 1_000, f: 1e3, g: .5, h: -0.5e-2, i: ~, j: , k: "yes", l: 'no',
  m: 0b11, nn: 2001-01-01, o: 12345678901234567890, p: 1.0, q: 1:30, r: n, s: 0o17, t: 103809024, u: +5, v: 1__0, w: -0b11, x: "010"}`),
		},
		"BlockScalars": {
			reason:  "Policies are often folded over lines.",
			sources: one("network:\n  a: >\n    OR('A.peer',\n    'B.peer')\n  b: |-\n    x\n    y\n  c: plain\n    on two lines\n"),
		},
		"Anchors": {
			reason:  "PIVT's users keep lists of organisations in anchors.",
			sources: one("flow: {orgs: &o [a, b]}\npeer: {x: *o, yy: &m {k: 1, l: 2}, z: {<<: *m, l: 3}, w: {<<: [*m, {nn: 4}], k: 5}}\n"),
		},
		"Merge": {
			reason: "Maps merge deep; lists, scalars and null of the later file replace.",
			sources: []network.Source{
				{Name: "a.yaml", Data: []byte("peer: {a: {b: 1, c: [1, 2]}, d: 1, e: {f: 1}, g: [1]}\n")},
				{Name: "b.yaml", Data: []byte("peer: {a: {c: [3], h: 2}, d: {x: 1}, e: null, g: 2}\nflow: {}\n")},
			},
		},
		"Set": {
			reason:  "--set writes integers, extends lists with null, and splits at commas.",
			sources: one("network: {chaincodes: [{name: a, version: '1'}], x: {yy: 1}}\n"),
			set: []string{
				"network.chaincodes[0].version=2.0,network.chaincodes[2].name=c", "flow.chaincode.include={a,b c,3}", "a.b=TRUE,a.c=nUll,a.d=007,a.e=0,a.f=-5",
				`a\.b=x\,y`, "network.x.yy=", "l[1][1]=z", "l[0].q.r=1", "s=a=b", "e={}",
			},
		},
		"ByteOrderMark": {
			reason:  "Windows editors put one in front of a file.",
			sources: one("\xef\xbb\xbfnetwork: {a: 1}\n"),
		},
	}
	for _, file := range cases(t, "valid-*.txtar") {
		sources, set, a := golden(t, file)
		all[filepath.Base(file)] = tc{string(a.Comment), sources, set}
	}
	for name, tc := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := helmValues(t, tc.sources, tc.set)
			if err != nil {
				t.Fatal(err)
			}
			got, err := network.Values(tc.sources, tc.set)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\nValues: -Helm, +ours:\n%s", tc.reason, diff)
			}
		})
	}
}

// FuzzSet holds --set against Helm's own reader: what we take, Helm takes alike.
func FuzzSet(f *testing.F) {
	for _, s := range []string{
		"a=1", "a.b[0].c={x,y},d=null", `a\.b=x\,y`, "a[2]=1,a[0][1]=2", "a={", "a[", "a..b=1", "a[0]x=1", "=", "a=b=c", "a={}b=1", "a[0].b.c=1,a[0]=2", "l[0]=1,l.x=2",
	} {
		f.Add(s)
	}
	const base = "m: {s: text, l: [1, {k: v}], n: }\nl: [[1], 2]\n"
	f.Fuzz(func(t *testing.T, expression string) {
		if strings.ContainsAny(expression, "\xff") {
			t.Skip()
		}
		sources := []network.Source{{Name: "a.yaml", Data: []byte(base)}}
		got, err := network.Values(sources, []string{expression})
		if err != nil {
			return // stricter than Helm is fine
		}
		want, err := network.Values(sources, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := strvals.ParseInto(expression, want); err != nil {
			t.Fatalf("Helm refuses --set %q, which we take: %v", expression, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("--set %q: -Helm, +ours:\n%s", expression, diff)
		}
	})
}
