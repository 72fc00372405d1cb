package deploy

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// sameCAs refuses to go on with keys that are not those of the network in the namespace. A
// lost directory would otherwise be made anew, and its Secrets would lock everybody out of
// channels that know the former CAs. It runs before any key is made.
func (d *Deployment) sameCAs(ctx context.Context) error {
	live, err := d.Kube.Core().CoreV1().ConfigMaps(d.Kube.Namespace()).Get(ctx, network.MSPConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading configmap/%s: %w", network.MSPConfigMap, err)
	}
	for _, o := range d.Network.Orgs() {
		data := live.Data[o.PublicKey()]
		if data == "" {
			continue // an organisation that is new to the network
		}
		public, err := pki.ParsePublic([]byte(data))
		if err != nil {
			return fmt.Errorf("configmap/%s: %w", network.MSPConfigMap, err)
		}
		roots, err := pki.Roots(d.CryptoDir, o)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(roots, func(r string) bool { return slices.Contains(public.RootCerts, r) }) {
			return exit.WithHint(exit.With(fmt.Errorf("org %q: the network in namespace %s was made with another CA than the one in %s; nothing was changed",
				o.Name, d.Kube.Namespace(), d.CryptoDir), exit.Invalid),
				`name the directory it was made with (--crypto-dir), or remove the network and its ledgers first: "pivt uninstall --delete-data"`)
		}
	}
	return nil
}
