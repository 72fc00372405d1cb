package network_test

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

func TestSetChaincode(t *testing.T) {
	t.Parallel()
	version := map[string]string{"version": "2.0"}
	cases := map[string]struct {
		reason   string
		in, want string
		set      map[string]string
	}{
		"DoubleQuotes": {
			"Comments and quotes are the user's.",
			"network:\n  chaincodes:\n    # ours\n    - name: a\n      version: \"1.0\" # raise me\n    - {name: b, version: '1.0'}\n",
			"network:\n  chaincodes:\n    # ours\n    - name: a\n      version: \"2.0\" # raise me\n    - {name: b, version: '1.0'}\n", version,
		},
		"SingleQuotes": {"Single quotes stay single.", "network: {chaincodes: [{name: a, version: '1.0'}]}\n", "network: {chaincodes: [{name: a, version: '2.0'}]}\n", version},
		"PlainToQuoted": {
			"A plain version that YAML would take for a number must be quoted.",
			"network:\n  chaincodes:\n  - version: v1 # first\n    name: a\n", "network:\n  chaincodes:\n  - version: \"2.0\" # first\n    name: a\n", version,
		},
		"PlainImage": {
			"An image needs no quotes.",
			"network:\n  chaincodes:\n    - name: a\n      image: old@sha256:ab\n", "network:\n  chaincodes:\n    - name: a\n      image: host:5000/new@sha256:cd\n",
			map[string]string{"image": "host:5000/new@sha256:cd"},
		},
		"InsertBlock": {
			"What is not there comes after the name, as deep as the name.",
			"network:\n  chaincodes:\n    -   name: a   # the first\n        channels: []\n", "network:\n  chaincodes:\n    -   name: a   # the first\n        version: \"2.0\"\n        channels: []\n", version,
		},
		"InsertFlow": {"In braces a comma separates.", "network: {chaincodes: [{name: a}, {name: b}]}\n", "network: {chaincodes: [{name: a, version: \"2.0\"}, {name: b}]}\n", version},
		"InsertJSON": {"JSON stays JSON.", `{"network": {"chaincodes": [{"name": "a", "orgs": []}]}}`, `{"network": {"chaincodes": [{"name": "a", "version": "2.0", "orgs": []}]}}`, version},
		"NoLastBreak": {
			"A file may end without a line break.",
			"network:\n  chaincodes:\n    - name: a", "network:\n  chaincodes:\n    - name: a\n      version: \"2.0\"", version,
		},
		"CarriageReturns": {
			"Windows' line breaks are kept.",
			"network:\r\n  chaincodes:\r\n    - name: a\r\n      channels: []\r\n", "network:\r\n  chaincodes:\r\n    - name: a\r\n      version: \"2.0\"\r\n      channels: []\r\n", version,
		},
		"ByteOrderMark": {"So is what Windows' editors put in front.", "\xef\xbb\xbfnetwork: {chaincodes: [{name: a}]}\n", "\xef\xbb\xbfnetwork: {chaincodes: [{name: a, version: \"2.0\"}]}\n", version},
		"Alias": {
			"An alias is replaced, not what it stands for.",
			"x: &v '1.0'\nnetwork: {chaincodes: [{name: a, version: *v }, {name: b, version: *v}]}\n", "x: &v '1.0'\nnetwork: {chaincodes: [{name: a, version: \"2.0\" }, {name: b, version: *v}]}\n", version,
		},
		"UnusedAnchor": {
			"An anchor that nobody uses may change.",
			"network: {chaincodes: [{name: a, version: &v '1.0'}]}\n", "network: {chaincodes: [{name: a, version: &v '2.0'}]}\n", version,
		},
		"MergeKey": {
			"A key that comes from elsewhere is overridden here.",
			"x: &x {version: '1.0'}\nnetwork:\n  chaincodes:\n    - <<: *x\n      name: a\n", "x: &x {version: '1.0'}\nnetwork:\n  chaincodes:\n    - <<: *x\n      name: a\n      version: \"2.0\"\n", version,
		},
		"AliasOfList": {
			"The list itself may be an alias.",
			"x: &x\n  - name: a\nnetwork:\n  chaincodes: *x\n", "", version, // x would change too, see below
		},
		"Unicode": {
			"Columns are characters, not bytes.",
			"network: {chaincodes: [{smoke: {function: é€😀}, name: a, version: '1'}]}\n", "network: {chaincodes: [{smoke: {function: é€😀}, name: a, version: '2.0'}]}\n", version,
		},
		"Two": {
			"Keys are set one after the other.",
			"network:\n  chaincodes:\n    - name: a\n", "network:\n  chaincodes:\n    - name: a\n      version: \"2.0\"\n      image: \"x@sha256:ab\"\n",
			map[string]string{"version": "2.0", "image": "x@sha256:ab"},
		},
		"Same": {"Nothing to do is nothing done.", "network: {chaincodes: [{version: \"2.0\", name: a}]}\n", "network: {chaincodes: [{version: \"2.0\", name: a}]}\n", version},
		"Unquote": {
			"Quotes and backslashes survive.",
			"network: {chaincodes: [{version: 'x', name: a}]}\n", "network: {chaincodes: [{version: 'it''s \"\\', name: a}]}\n", map[string]string{"version": `it's "\`},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := network.SetChaincode(network.Source{Name: "network.yaml", Data: []byte(tc.in)}, "a", tc.set)
			if tc.want == "" {
				if err == nil {
					t.Fatalf("%s\nSetChaincode: no error, and\n%s", tc.reason, got.Data)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s\nSetChaincode: %v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.want, string(got.Data)); diff != "" {
				t.Errorf("%s\nSetChaincode: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestSetChaincodeRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, in, want string }{
		"UsedAnchor": {
			"A change would reach the other chaincode too.",
			"network:\n  chaincodes:\n    - {name: b, version: &v '1.0'}\n    - {name: c, version: *v}\n",
			`network.yaml:3:7: chaincode "b" is written so that its version cannot be changed alone; write version: "2.0" there yourself`,
		},
		"Folded": {
			"Text over several lines ends by its indentation.",
			"network:\n  chaincodes:\n    - name: b\n      version: >-\n        1.0\n",
			`network.yaml:3:7: chaincode "b" is written so that its version cannot be changed alone; write version: "2.0" there yourself`,
		},
		"Mapping": {
			"What is no text is not replaced.",
			"network:\n  chaincodes:\n    - name: b\n      version: {a: b}\n",
			`network.yaml:3:7: chaincode "b" is written so that its version cannot be changed alone; write version: "2.0" there yourself`,
		},
		"MergedInto": {
			"Another chaincode takes this one's keys.",
			"network:\n  chaincodes:\n    - &b {name: b}\n    - {<<: *b, name: c}\n",
			`network.yaml:3:7: chaincode "b" is written so that its version cannot be changed alone; write version: "2.0" there yourself`,
		},
		"TwoDocuments": {
			"Only the first would be read.",
			"network: {chaincodes: [{name: b}]}\n---\nx: 1\n",
			`network.yaml:2:1: a second YAML document starts here and Helm would not read it; remove the line "---" before it, or make it a file of its own`,
		},
		"Absent":  {"The caller may try another file.", "network: {chaincodes: [{name: c}]}\n", `network.yaml: there is no chaincode "b" in it`},
		"NoList":  {"So may it here.", "network: {chaincodes: {name: b}}\n", `network.yaml: there is no chaincode "b" in it`},
		"NotYAML": {"A broken file is not touched.", "network: {chaincodes: [{name: b}\n", "network.yaml:1:1: not YAML"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := network.SetChaincode(network.Source{Name: "network.yaml", Data: []byte(tc.in)}, "b", map[string]string{"version": "2.0"})
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) || exit.CodeOf(err) != exit.Invalid {
				t.Errorf("%s\nSetChaincode: %v, want %s", tc.reason, err, tc.want)
			}
			var absent *network.NoChaincodeError
			if strings.Contains(tc.want, "there is no chaincode") != errors.As(err, &absent) {
				t.Errorf("%s\nSetChaincode: error %T", tc.reason, err)
			}
		})
	}
}

// checkSet sets a version for every chaincode of a source, and checks that this changes the
// meaning of nothing else, and no line but one.
func checkSet(t *testing.T, s network.Source) {
	t.Helper()
	values, err := network.Values([]network.Source{s}, nil)
	if err != nil {
		return
	}
	section, _ := values["network"].(map[string]any)
	items, _ := section["chaincodes"].([]any)
	done := map[string]bool{}
	for i, item := range items {
		cc, _ := item.(map[string]any)
		name, ok := cc["name"].(string)
		if !ok || done[name] {
			continue
		}
		done[name] = true
		const version = "7.0-it's \"new\""
		got, err := network.SetChaincode(s, name, map[string]string{"version": version})
		if err != nil {
			if exit.CodeOf(err) != exit.Invalid {
				t.Errorf("chaincode %q: %v", name, err)
			}
			continue
		}
		changed, err := network.Values([]network.Source{got}, nil)
		if err != nil {
			t.Fatalf("chaincode %q: the new text is broken: %v\n%s", name, err, got.Data)
		}
		want := maps.Clone(values)
		want["network"] = maps.Clone(section)
		list := slices.Clone(items)
		entry := maps.Clone(cc)
		entry["version"] = version
		list[i] = entry
		want["network"].(map[string]any)["chaincodes"] = list
		if diff := cmp.Diff(want, changed); diff != "" {
			t.Fatalf("chaincode %q: -want, +got:\n%s\n%s", name, diff, got.Data)
		}
		before, after := strings.Split(string(s.Data), "\n"), strings.Split(string(got.Data), "\n")
		if n := len(after) - len(before); n < 0 || n > 1 {
			t.Errorf("chaincode %q: %d lines became %d", name, len(before), len(after))
		}
	}
}

func TestSetChaincodeInCorpus(t *testing.T) {
	t.Parallel()
	set := 0
	for _, file := range cases(t, "valid-*.txtar") {
		sources, _, _ := golden(t, file)
		for _, s := range sources {
			checkSet(t, s)
			if strings.Contains(string(s.Data), "chaincodes:") {
				set++
			}
		}
	}
	if set == 0 {
		t.Error("the corpus has no chaincodes")
	}
}

func FuzzSetChaincode(f *testing.F) {
	seeds(f, "network.yaml")
	f.Add([]byte("x: &x\n  - name: a\n    version: &v >-\n      1.0\nnetwork:\n  chaincodes: *x\n"))
	f.Fuzz(func(t *testing.T, data []byte) { checkSet(t, network.Source{Name: "network.yaml", Data: data}) })
}

func TestInline(t *testing.T) {
	t.Parallel()
	const list = `[{"name": "secret", "policy": "OR('Org1MSP.member')", "blockToLive": 1000000}]`
	const inlined = `[{"blockToLive":1000000,"name":"secret","policy":"OR('Org1MSP.member')"}]`
	const head = "network:\n  channels: [{name: c, orgs: [Org1, Org2]}]\n  chaincodes:\n"
	const image = "a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	cases := map[string]struct {
		reason   string
		in, want string
		set      []string
		files    map[string]string
		fails    string
	}{
		"JSON": {
			reason: "The list comes in place of the name, and comments stay.",
			in:     head + "    - {name: a, image: " + image + ", channels: [{name: c, collections: c.json}]} # one\n",
			want:   head + "    - {name: a, image: " + image + ", channels: [{name: c, collections: " + inlined + "}]} # one\n",
			files:  map[string]string{"c.json": list},
		},
		"YAML": {
			reason: "YAML is easier to write, and a file may serve several.",
			in:     head + "    - name: a\n      image: " + image + "\n      channels: [{name: c}]\n      collections: \"cc/c.yaml\"\n    - {name: b, image: " + image + ", channels: [{name: c}], collections: 'cc/c.yaml'}\n",
			want:   head + "    - name: a\n      image: " + image + "\n      channels: [{name: c}]\n      collections: " + inlined + "\n    - {name: b, image: " + image + ", channels: [{name: c}], collections: " + inlined + "}\n",
			files:  map[string]string{"cc/c.yaml": "# ours\n- name: secret\n  policy: OR('Org1MSP.member')\n  blockToLive: 1_000_000\n"},
		},
		"Anchor": {
			reason: "A name may be an anchor, and have commas.",
			in:     head + "    - {name: a, image: " + image + ", channels: [{name: c}], collections: &f \"c,d.json\"}\n    - {name: b, image: " + image + ", channels: [{name: c, collections: *f}]}\n",
			want:   head + "    - {name: a, image: " + image + ", channels: [{name: c}], collections: &f " + inlined + "}\n    - {name: b, image: " + image + ", channels: [{name: c, collections: *f}]}\n",
			files:  map[string]string{"c,d.json": list},
		},
		"AnchorOfOthers": {
			reason: "If something else uses the anchor, it would become a list too.",
			in:     "extraObjects: &f c.json\n" + head + "    - {name: a, image: " + image + ", channels: [{name: c, collections: *f}]}\n",
			files:  map[string]string{"c.json": list},
			fails:  "dir/network.yaml:1:1: its lists of collections cannot be put into it; write them into the file yourself",
		},
		"Overridden": {
			reason: "What a flag replaces is not read.",
			in:     head + "    - {name: a, image: " + image + ", channels: [{name: c}], collections: gone.json}\n",
			want:   head + "    - {name: a, image: " + image + ", channels: [{name: c}], collections: gone.json}\n",
			set:    []string{"network.chaincodes={}"},
		},
		"Absent": {
			reason: "The place is that of the name, the file's that of the reader.",
			in:     head + "    - {name: a, image: " + image + ", channels: [{name: c}], collections: gone.json}\n",
			fails:  "dir/network.yaml:4:135: collections: reading dir/gone.json: file does not exist",
		},
		"Broken": {
			reason: "Problems of the list are at their place in its own file.",
			in:     head + "    - {name: a, image: " + image + ", channels: [{name: c}], collections: c.json}\n",
			files:  map[string]string{"c.json": "[\n\t{\"name\": \"a\",\n\t \"policies\": \"x\"}\n]"},
			fails: "dir/c.json:2:11: chaincode \"a\": collection \"a\" has no policy; say who gets the data, as \"OR('Org1MSP.member','Org2MSP.member')\"\n" +
				"dir/c.json:3:3: unknown key \"policies\" in network.chaincodes[].collections; known keys: name, policy, requiredPeerCount, maxPeerCount, blockToLive, memberOnlyRead, memberOnlyWrite, endorsementPolicy",
		},
		"NoList": {
			reason: "Fabric's format is a list.",
			in:     head + "    - {name: a, image: " + image + ", channels: [{name: c}], collections: c.json}\n",
			files:  map[string]string{"c.json": "{}"},
			fails:  "dir/c.json:1:1: the file holds a mapping; it must be a list of collections, each starting with \"- \" or \"{\"",
		},
		"Folded": {
			reason: "A name over several lines would move all lines after it.",
			in:     head + "    - name: a\n      image: " + image + "\n      channels: [{name: c}]\n      collections: >-\n        c.json\n",
			files:  map[string]string{"c.json": list},
			fails:  "dir/network.yaml:7:20: write the file's name after \"collections:\", on one line",
		},
		"BrokenSource": {
			reason: "Load says what is wrong with a source.",
			in:     "network: [",
			want:   "network: [",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crypto := network.Source{Name: "dir/crypto-config.yaml", Data: []byte(goodCrypto)}
			read := func(base, name string) ([]byte, error) {
				if base != "dir/network.yaml" {
					t.Errorf("%s: base %s", name, base)
				}
				if data, ok := tc.files[name]; ok {
					return []byte(data), nil
				}
				return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
			}
			got, err := network.Inline([]network.Source{crypto, {Name: "dir/network.yaml", Data: []byte(tc.in)}}, tc.set, read)
			if tc.want == "" {
				if err == nil || err.Error() != tc.fails || exit.CodeOf(err) != exit.Invalid {
					t.Errorf("%s\nInline: %v\nwant %s", tc.reason, err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s\nInline: %v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.want, string(got[1].Data)); diff != "" {
				t.Errorf("%s\nInline: -want, +got:\n%s", tc.reason, diff)
			}
			if tc.files == nil {
				return
			}
			n, _, err := network.Load(got, tc.set)
			if err != nil {
				t.Fatal(err)
			}
			want := []*network.Collection{{Name: "secret", Policy: "OR('Org1MSP.member')", MaxPeerCount: 1, BlockToLive: 1000000}}
			if diff := cmp.Diff(want, n.Chaincodes[0].Channels[0].Collections); diff != "" {
				t.Errorf("%s\nLoad: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// FuzzInline puts any file into any source: what comes out means what it should, or nothing
// comes out.
func FuzzInline(f *testing.F) {
	source := []byte("network:\n  channels: [{name: mychannel, orgs: [Org1]}]\n  chaincodes: [{name: a, channels: [{name: mychannel}], collections: x}]\n")
	f.Add(source, []byte(`[{"name": "a", "policy": "OR('Org1MSP.member')"}]`))
	f.Add(source, []byte("- {name: a, policy: OR('Org1MSP.member'), x: [&a <b>, *a, \"\\x7f\", 1e3]}"))
	f.Fuzz(func(t *testing.T, data, file []byte) {
		sources := []network.Source{{Name: "crypto-config.yaml", Data: []byte(goodCrypto)}, {Name: "network.yaml", Data: data}}
		got, err := network.Inline(sources, nil, func(string, string) ([]byte, error) { return file, nil })
		if err != nil {
			if exit.CodeOf(err) != exit.Invalid {
				t.Error(err)
			}
			return
		}
		if _, err := network.Values(sources, nil); err != nil {
			return
		}
		if _, err := network.Values(got, nil); err != nil {
			t.Errorf("the new text is broken: %v\n%s", err, got[1].Data)
		}
		if a, b := strings.Count(string(data), "\n"), strings.Count(string(got[1].Data), "\n"); a != b {
			t.Errorf("%d lines became %d", a, b)
		}
	})
}
