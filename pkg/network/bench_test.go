package network_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pivt.io/pivt/pkg/network"
)

// large writes files for orgs x peers x channels x chaincodes, everything with everything,
// as spelled out as people write them.
func large(orgs, peers, channels, chaincodes int) []network.Source {
	var crypto, net strings.Builder
	crypto.WriteString("OrdererOrgs:\n  - Name: Orderer\n    Domain: example.com\n    EnableNodeOUs: true\n    Specs:\n      - Hostname: orderer0\n      - Hostname: orderer1\n      - Hostname: orderer2\nPeerOrgs:\n")
	var list, members []string
	for i := range orgs {
		fmt.Fprintf(&crypto, "  - Name: Org%d\n    Domain: org%d.example.com\n    EnableNodeOUs: true\n    Template:\n      Count: %d\n      SANS:\n        - \"{{.Hostname}}.alt.{{.Domain}}\"\n    Users:\n      Count: 1\n", i, i, peers)
		list = append(list, fmt.Sprintf("Org%d", i))
		members = append(members, fmt.Sprintf("'Org%dMSP.peer'", i))
	}
	all := strings.Join(list, ", ")
	policy := "OR(" + strings.Join(members, ",") + ")"
	net.WriteString("network:\n  channels:\n")
	for i := range channels {
		fmt.Fprintf(&net, "    - name: channel%d\n      orgs: [%s]\n", i, all)
	}
	net.WriteString("  chaincodes:\n")
	for i := range chaincodes {
		fmt.Fprintf(&net, "    - name: chaincode%d\n      version: \"1.0\"\n      image: pivt/basic@sha256:%s\n      orgs: [%s]\n      channels:\n", i, strings.Repeat("0123456789abcdef", 4), all)
		for j := range channels {
			fmt.Fprintf(&net, "        - name: channel%d\n          orgs: [%s]\n          policy: %s\n", j, all, policy)
		}
	}
	return []network.Source{{Name: "crypto-config.yaml", Data: []byte(crypto.String())}, {Name: "network.yaml", Data: []byte(net.String())}}
}

func BenchmarkLoad(b *testing.B) {
	for _, size := range [][4]int{{2, 1, 1, 1}, {8, 3, 5, 5}, {10, 4, 10, 10}} {
		sources := large(size[0], size[1], size[2], size[3])
		b.Run(fmt.Sprintf("%dx%dx%dx%d", size[0], size[1], size[2], size[3]), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(sources[0].Data) + len(sources[1].Data)))
			for b.Loop() {
				if _, _, err := network.Load(sources, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkValues(b *testing.B) {
	sources := large(10, 4, 10, 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := network.Values(sources, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRefusesFast keeps hostile files from being a way to stop the program. The limit is
// generous: it is about seconds or minutes, not about milliseconds.
func TestRefusesFast(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		data   string
		want   string
	}{
		"FiveMiB": {
			reason: "Somebody gave the wrong file.",
			data:   strings.Repeat("a: b # 16 bytes.\n", 5<<20/17+1),
			want:   "too large: 5.0 MiB",
		},
		"ManyKeys": {
			reason: "Looking up each key in a list would take minutes.",
			data:   "network: {}\n" + manyKeys(60_000),
			want:   "more than",
		},
		"ManySyntaxErrors": {
			reason: "The search for the line that breaks the file parses it again and again.",
			data:   strings.Repeat("a: [\n", 100_000),
			want:   "not YAML",
		},
		"DeepFlow": {
			reason: "Every bracket is a level of recursion.",
			data:   "network: " + strings.Repeat("[", 500_000),
			want:   "not YAML",
		},
		"DeepPolicy": {
			reason: "So is every gate of a policy.",
			data: "network:\n  channels: [{name: c, orgs: [Org1]}]\n  chaincodes: [{name: a, channels: [{name: c, policy: \"" +
				strings.Repeat("OR(", 100_000) + "\"}]}]\n",
			want: "deep",
		},
		"ManyOrgs": {
			reason: "Nodes are counted over all organisations.",
			data:   "PeerOrgs:\n" + manyOrgs(500),
			want:   "more than 1000 nodes",
		},
		"TemplateLoop": {
			reason: "A template is no program.",
			data:   "PeerOrgs:\n  - {Name: A, Domain: a.com, Template: {Count: 1, Hostname: \"{{range 999999999}}x{{end}}\"}}\n",
			want:   "not control words",
		},
		"TemplateWidth": {
			reason: "A template does not fill the memory.",
			data:   "PeerOrgs:\n  - {Name: A, Domain: a.com, Template: {Count: 1, Hostname: \"{{printf \\\"%0999999d\\\" 1}}\"}}\n",
			want:   "not a DNS name",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, _, err := network.Load([]network.Source{{Name: "a.yaml", Data: []byte(tc.data)}}, nil)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("%s\nLoad took %s", tc.reason, took)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nLoad: %.300v, want %q", tc.reason, err, tc.want)
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	return b.String()
}

func manyOrgs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - {Name: o%d, Domain: o%d.com, Template: {Count: 100}}\n", i, i)
	}
	return b.String()
}
