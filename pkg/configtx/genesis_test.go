package configtx_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	fabricconfig "github.com/hyperledger/fabric-config/configtx"

	"pivt.io/pivt/pkg/configtx"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGenesisGolden shows whole configurations to a reader. Certificates are made anew by
// every run and stand there by name.
func TestGenesisGolden(t *testing.T) {
	t.Parallel()
	cases := map[string]shape{
		"raft":               {consensus: network.Raft, orderers: []int{1, 2}, peers: []int{2, 1}},
		"raft-no-node-ous":   {consensus: network.Raft, orderers: []int{1}, peers: []int{1}, withoutNodeOUs: true},
		"bft":                {consensus: network.BFT, orderers: []int{4}, peers: []int{1}},
		"bft-several-owners": {consensus: network.BFT, orderers: []int{2, 2, 1}, peers: []int{1}},
	}
	for name, s := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrypto(t, s)
			block, err := configtx.Genesis(c.channel(), c.public())
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(named(decode(t, configOf(t, block), ""), certNames(c))); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".golden.json")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("-%s, +got (accept with -update):\n%s", path, diff)
			}
		})
	}
}

// certNames gives every public certificate a name.
func certNames(c crypto) map[string]string {
	names := map[string]string{}
	for org, p := range c.public() {
		names[p.RootCerts[0]] = org + " CA"
		names[p.TLSRootCerts[0]] = org + " TLS CA"
		for _, a := range p.Admins {
			names[a] = org + " admin"
		}
		for host, n := range p.Nodes {
			names[n.SignCert] = org + " " + host
			names[n.TLSCert] = org + " " + host + " TLS"
		}
	}
	return names
}

func named(v any, names map[string]string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = named(e, names)
		}
		return out
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, named(e, names))
		}
		return out
	case string:
		if name, ok := names[v]; ok {
			return "<" + name + ">"
		}
	}
	return v
}

// TestGenesisIsDeterministic: orderer organisations make the block in pods of their own, from
// a ConfigMap, and must come to one channel.
func TestGenesisIsDeterministic(t *testing.T) {
	t.Parallel()
	for _, consensus := range []network.Consensus{network.Raft, network.BFT} {
		c := newCrypto(t, shape{consensus: consensus, orderers: []int{2, 3}, peers: []int{1, 2, 1}})
		var first []byte
		for range 50 {
			orgs := map[string]*pki.Public{}
			for name, p := range c.public() {
				travelled, err := pki.ParsePublic(p.Marshal())
				if err != nil {
					t.Fatal(err)
				}
				orgs[name] = travelled
			}
			block, err := configtx.Genesis(c.channel(), orgs)
			if err != nil {
				t.Fatal(err)
			}
			b, err := configtx.Marshal(block)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = b
			}
			if !bytes.Equal(first, b) {
				t.Fatalf("%s: the same channel gave two blocks", consensus)
			}
		}
		other := *c.channel()
		other.Name = "other"
		block, err := configtx.Genesis(&other, c.public())
		if err != nil {
			t.Fatal(err)
		}
		if id := header(t, block).TxId; len(id) != 64 || bytes.Contains(first, []byte(id)) {
			t.Errorf("%s: channels common and other share the transaction id %q", consensus, id)
		}
	}
}

// TestGenesisHeader: the fields that configtxgen leaves to chance are derived, and hold what
// Fabric and block explorers make of them.
func TestGenesisHeader(t *testing.T) {
	t.Parallel()
	c := newCrypto(t, shape{consensus: network.Raft, orderers: []int{1}, peers: []int{1}})
	block, err := configtx.Genesis(c.channel(), c.public())
	if err != nil {
		t.Fatal(err)
	}
	h := header(t, block)
	sum := sha256.Sum256(block.Data.Data[0])
	if !bytes.Equal(block.Header.DataHash, sum[:]) {
		t.Error("the header's hash is not that of the data; no orderer would take the block")
	}
	if age := time.Since(h.Timestamp.AsTime()); age < 0 || age > time.Hour {
		t.Errorf("timestamp %s is not when the certificates began", h.Timestamp.AsTime())
	}
	nonce := signatureHeader(t, block).Nonce
	if id := sha256.Sum256(nonce); len(nonce) != 24 || h.TxId != hex.EncodeToString(id[:]) {
		t.Errorf("transaction id %s does not follow from nonce %x", h.TxId, nonce)
	}
}

// TestGenesisReadBack has fabric-config, which we did not write, read the block.
func TestGenesisReadBack(t *testing.T) {
	t.Parallel()
	c := newCrypto(t, shape{consensus: network.Raft, orderers: []int{3}, peers: []int{2, 1}})
	block, err := configtx.Genesis(c.channel(), c.public())
	if err != nil {
		t.Fatal(err)
	}
	tx := fabricconfig.New(configOf(t, block))
	o, err := tx.Orderer().Configuration()
	if err != nil {
		t.Fatal(err)
	}
	var consenters []string
	for _, c := range o.EtcdRaft.Consenters {
		consenters = append(consenters, c.Address.Host)
	}
	want := []string{"hlf-orderer--ord1--orderer0", "hlf-orderer--ord1--orderer1", "hlf-orderer--ord1--orderer2"}
	if diff := cmp.Diff(want, consenters); diff != "" {
		t.Errorf("consenters: -want, +got:\n%s", diff)
	}
	anchors, err := tx.Application().Organization("Org1").AnchorPeers()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]fabricconfig.Address{{Host: "hlf-peer--org1--peer0", Port: 7051}}, anchors); diff != "" {
		t.Errorf("anchors of Org1: -want, +got:\n%s", diff)
	}
	if _, err := tx.Channel().Configuration(); err != nil {
		t.Errorf("channel group: %v", err)
	}
}

func TestGenesisRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change func(*network.Channel, map[string]*pki.Public)
		names  string
	}{
		"NoOrderers": {
			reason: "A channel without consenters could never order its first block.",
			change: func(ch *network.Channel, _ map[string]*pki.Public) { ch.OrdererOrgs = nil },
			names:  "no orderer",
		},
		"NoPeerOrgs": {
			reason: "Nobody could write to the channel.",
			change: func(ch *network.Channel, _ map[string]*pki.Public) { ch.Orgs = nil },
			names:  "no peer organisation",
		},
		"UnknownOrg": {
			reason: "The ConfigMap may be older than the file.",
			change: func(_ *network.Channel, orgs map[string]*pki.Public) { delete(orgs, "Org1") },
			names:  `peer org "Org1"`,
		},
		"UnknownOrdererCertificate": {
			reason: "An orderer was added to the file and its certificates were not applied yet.",
			change: func(_ *network.Channel, orgs map[string]*pki.Public) {
				p := *orgs["Ord1"]
				p.Nodes = maps.Clone(p.Nodes)
				delete(p.Nodes, "orderer0")
				orgs["Ord1"] = &p
			},
			names: `orderer "orderer0"`,
		},
		"OtherMSPID": {
			reason: "Certificates under another MSP ID than the file's would make a channel nobody can use.",
			change: func(_ *network.Channel, orgs map[string]*pki.Public) {
				p := *orgs["Org1"]
				p.MSPID = "OtherMSP"
				orgs["Org1"] = &p
			},
			names: "OtherMSP",
		},
		"NoRootCertificate": {
			reason: "Fabric refuses an MSP without a CA, but only once orderers join.",
			change: func(_ *network.Channel, orgs map[string]*pki.Public) {
				p := *orgs["Org1"]
				p.RootCerts = nil
				orgs["Org1"] = &p
			},
			names: "Org1",
		},
		"BatchTimeout": {
			reason: "The loader checks it; other callers may not have.",
			change: func(ch *network.Channel, _ map[string]*pki.Public) { ch.Batch.Timeout = "soon" },
			names:  "soon",
		},
		"Consensus": {
			reason: "Solo and kafka are gone since Fabric 3.",
			change: func(ch *network.Channel, _ map[string]*pki.Public) { ch.Consensus = "solo" },
			names:  "solo",
		},
	}
	c := newCrypto(t, shape{consensus: network.Raft, orderers: []int{1}, peers: []int{1}})
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ch, orgs := *c.channel(), c.public()
			tc.change(&ch, orgs)
			_, err := configtx.Genesis(&ch, orgs)
			if err == nil || !strings.Contains(err.Error(), tc.names) || !strings.Contains(err.Error(), `"common"`) {
				t.Errorf("%s\ngot %v, want an error that names the channel and %s", tc.reason, err, tc.names)
			}
		})
	}
}
