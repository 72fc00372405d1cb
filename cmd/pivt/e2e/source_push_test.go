//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"
)

// TestPushedSource installs a source chaincode without pivt install: once its package has been
// pushed, helm and argo do the rest.
func TestPushedSource(t *testing.T) {
	t.Parallel()
	s := newSite(t, "e2e-pushed")
	s.sourceNetwork("")
	s.pivt("install").ok()
	java := sources()["java"] // its stand-in builds in no time
	java.write(s, filepath.Join(s.dir, "pushed"))
	s.sourceNetwork(sourceEntry("pushed", java))

	flow, err := filepath.Abs("../../../charts/chaincode-flow")
	s.must(err)
	manifest := s.exec("", "helm", "template", flow, "-f", "network.yaml", "-f", "crypto-config.yaml").wait().ok().stdout
	if r := s.exec(manifest, "argo", "submit", "-n", s.ns, "--wait", "-").wait(); r.code == 0 {
		t.Error("a flow has ended well although nobody has pushed the package")
	}
	s.pivt("chaincode", "push").ok()
	s.exec(manifest, "argo", "submit", "-n", s.ns, "--wait", "-").wait().ok()
	g := s.gateway("Org1", "org1.example.com")
	if v, n := g.committed(labChannel, "pushed"); v != "1.0" || n != 1 {
		t.Errorf("version %s, sequence %d are committed, want 1.0, 1", v, n)
	}
	g.submit(labChannel, "pushed", "CreateAsset", "one", "Ada", "300")
}
