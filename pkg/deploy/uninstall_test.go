package deploy_test

import (
	"slices"
	"strings"
	"testing"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
)

func (b *bringUp) uninstall(o deploy.UninstallOptions) ([]string, *story, error) {
	b.Helper()
	s := &story{}
	changes, err := b.deployment(s).Uninstall(b.Context(), o)
	s.check(b.T)
	return lines(changes), s, err
}

// left names everything of the namespace.
func (b *bringUp) left() []string {
	var all []string
	for _, resource := range []string{"configmaps", "networkpolicies", "persistentvolumeclaims", "poddisruptionbudgets", "pods", "rolebindings", "roles",
		"secrets", "serviceaccounts", "services", "statefulsets", "workflows"} {
		for _, name := range b.cluster.Names(resource, namespace) {
			all = append(all, resource+"/"+name)
		}
	}
	return all
}

// strangers puts objects beside the network that are not its own, and a chaincode that is.
func (b *bringUp) strangers() {
	own := map[string]any{"app.kubernetes.io/component": "chaincode"}
	other := map[string]any{"app.kubernetes.io/part-of": "a-shop"}
	for resource, o := range map[string][]map[string]any{
		"pods":                   {{"name": "hlf-chaincode--basic", "labels": own}, {"name": "shop", "labels": other}},
		"secrets":                {{"name": "hlf-chaincode--basic", "labels": own}, {"name": "shop", "labels": other}},
		"persistentvolumeclaims": {{"name": "data-shop-0", "labels": other}},
		"configmaps":             {{"name": "kube-root-ca.crt"}},
	} {
		for _, meta := range o {
			b.cluster.Put(resource, namespace, nil, meta)
		}
	}
}

var others = []string{"configmaps/kube-root-ca.crt", "persistentvolumeclaims/data-shop-0", "pods/shop", "secrets/shop"}

func TestUninstall(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		options deploy.UninstallOptions
		claims  bool
	}{
		"KeepLedgers":   {"Ledgers are all that cannot be made again, so they stay unless asked for.", deploy.UninstallOptions{}, true},
		"DeleteLedgers": {"With --delete-data nothing of the network stays, and nothing of others goes.", deploy.UninstallOptions{DeleteData: true}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBringUp(t)
			b.mustInstall()
			b.strangers()
			changes, s, err := b.uninstall(tc.options)
			if err != nil {
				t.Fatal(err)
			}
			left := b.left()
			claims := len(left) - len(without(left, "persistentvolumeclaims/data-hlf", "persistentvolumeclaims/ledger"))
			if (claims > 0) != tc.claims {
				t.Errorf("%s\n%d ledgers are left: %q", tc.reason, claims, left)
			}
			diff(t, tc.reason, others, without(left, "persistentvolumeclaims/data-hlf", "persistentvolumeclaims/ledger"))
			for _, c := range changes {
				if !strings.HasSuffix(c, " deleted") {
					t.Errorf("change %q of an uninstall", c)
				}
			}
			if !slices.Contains(changes, "release/hlf-kube deleted") || !slices.Contains(changes, "pod/hlf-chaincode--basic deleted") {
				t.Errorf("changes %q lack the release or the chaincode", changes)
			}
			for _, step := range s.words() {
				if !strings.HasSuffix(step, " done") {
					t.Errorf("step ended as %q", step)
				}
			}

			again, s, err := b.uninstall(tc.options)
			if err != nil || len(again) > 0 {
				t.Errorf("a repeat deleted %q, error %v", again, err)
			}
			for _, step := range s.words() {
				if !strings.HasSuffix(step, " skipped") {
					t.Errorf("step of the repeat ended as %q", step)
				}
			}
			if got := b.mustInstall(); !slices.Contains(got, "release/hlf-kube created") || slices.Contains(got, "crypto/karga.example.com created") {
				t.Errorf("the network does not come back with the same keys: %q", got)
			}
		})
	}
}

// TestUninstallTriesEverything refuses one part in the middle.
func TestUninstallTriesEverything(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.mustInstall()
	b.strangers()
	b.cluster.Refuse("delete", "workflows", "")
	b.cluster.Refuse("delete", "pods", "")
	_, s, err := b.uninstall(deploy.UninstallOptions{DeleteData: true})
	if exit.CodeOf(err) != exit.Failed || !strings.Contains(err.Error(), "workflows") || !strings.Contains(err.Error(), "pods") {
		t.Errorf("exit %d, error %v; want one that names both refusals", exit.CodeOf(err), err)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than a line", err)
	}
	diff(t, "each refusal ends its own part only", []string{
		"workflows failed", "release hlf-kube done", "chaincodes failed", "secrets done", "ledgers done",
	}, s.words())

	b.cluster.Allow()
	if _, _, err := b.uninstall(deploy.UninstallOptions{DeleteData: true}); err != nil {
		t.Fatal(err)
	}
	diff(t, "a repeat completes it", others, b.left())
}

// TestUninstallWithoutArgo removes a network from a cluster that has lost Argo.
func TestUninstallWithoutArgo(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.mustInstall()
	b.cluster.WithoutArgo()
	if _, _, err := b.uninstall(deploy.UninstallOptions{}); err != nil {
		t.Errorf("%v: what the cluster does not know cannot be there", err)
	}
	if got := b.cluster.Names("statefulsets", namespace); len(got) > 0 {
		t.Errorf("nodes %q are left", got)
	}
}
