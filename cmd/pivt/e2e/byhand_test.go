//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// TestByHand brings a network up without pivt install: kubectl, helm and argo, the charts
// and what pivt render prints. It also compares both renderings byte by byte.
func TestByHand(t *testing.T) {
	t.Parallel()
	s := newSite(t, "e2e-byhand")
	charts, err := filepath.Abs("../../../charts")
	s.must(err)
	s.exec("", "kubectl", "create", "namespace", s.ns).wait().ok()
	s.exec("", "kubectl", "label", "namespace", s.ns, "pod-security.kubernetes.io/enforce=restricted").wait().ok()
	s.pivt("crypto", "generate").ok()
	secrets := s.pivt("render", "secrets").ok()
	s.exec(secrets.stdout, "kubectl", "apply", "-n", s.ns, "-f", "-").wait().ok()
	files := []string{"-f", "network.yaml", "-f", "crypto-config.yaml"}
	s.exec("", "helm", append([]string{"install", "-n", s.ns, "hlf-kube", filepath.Join(charts, "hlf-kube")}, files...)...).wait().ok()
	for _, flow := range []string{"channel-flow", "chaincode-flow"} {
		ours := s.pivt("render", flow).ok().stdout
		helms := s.exec("", "helm", append([]string{"template", filepath.Join(charts, flow)}, files...)...).wait().ok().stdout
		if ours != helms {
			s.write("ours.yaml", ours)
			s.write("helms.yaml", helms)
			t.Errorf("%s: pivt render and helm template differ, see %s", flow, os.TempDir())
		}
		s.exec(helms, "argo", "submit", "-n", s.ns, "--wait", "-").wait().ok()
	}
	s.transact("mychannel", "asset-byhand")
	// The first install takes the objects over from kubectl; the second has nothing to do.
	s.pivt("install").ok()
	s.assertUnchangedInstall("mychannel")
}
