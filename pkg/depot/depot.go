package depot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"pivt.io/pivt/pkg/exit"
)

// maxTries is how often somebody else may change a label while we are at it.
const maxTries = 5

// Put stores a package under its label. It may be repeated: what an interrupted call left is
// completed, and what is there already is left alone, which is what changed says. A label that
// holds another package is ErrTaken, unless replace.
func Put(ctx context.Context, c typed.ConfigMapInterface, label string, pkg []byte, replace bool) (changed bool, err error) {
	if len(pkg) > MaxBytes {
		return false, tooLarge(label, len(pkg))
	}
	for range maxTries {
		did, done, err := put(ctx, c, newIndex(label, pkg), pkg, replace)
		changed = changed || did
		if done || err != nil {
			return changed, err
		}
	}
	return changed, exit.Transient(fmt.Errorf("storing package %q: somebody else keeps changing it", label))
}

func tooLarge(label string, size int) error {
	return exit.WithHint(exit.With(failed(ErrTooLarge, "package %q has %.1f MiB; ConfigMaps are used up to %d MiB", label, float64(size)/(1<<20), MaxBytes>>20), exit.Invalid),
		`push it to a registry with "pivt chaincode push --to oci://…" and name it in network.yaml as "package: oci://…@sha256:…", or leave out files with .pivtignore`)
}

// put is one try; it is not done if somebody else was faster.
func put(ctx context.Context, c typed.ConfigMapInterface, want index, pkg []byte, replace bool) (changed, done bool, err error) {
	have, err := look(ctx, c, want.label)
	spoiled := errors.Is(err, ErrSpoiled) // it holds no package, so none is lost
	if err != nil && !spoiled {
		return false, false, err
	}
	same := !spoiled && have != nil && have.hash == want.hash
	if have != nil && !same && !spoiled && !replace {
		return false, false, exit.WithHint(exit.With(failed(ErrTaken, "package %q is stored already with other content: sha256 %s, and this one has %s",
			want.label, have.hash, want.hash), exit.Invalid), "raise the chaincode's version in network.yaml")
	}
	changed, strangers, err := fill(ctx, c, want, pkg)
	if err != nil {
		return changed, false, err
	}
	if !same {
		if have != nil {
			if gone, err := remove(ctx, c, indexName(want.label), have.uid); err != nil || !gone {
				return changed, false, err
			}
		}
		_, err := c.Create(ctx, want.configMap(), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			// Somebody stored the same, or something else: our chunks then stay until the label's
			// next put finds them.
			return changed, false, nil
		}
		if err != nil {
			return changed, false, clusterError(ctx, fmt.Sprintf("storing package %q", want.label), err)
		}
		changed = true
		if replace {
			// Whoever replaced the label just before us may have taken our chunks for leftovers.
			if _, _, err = fill(ctx, c, want, pkg); err != nil {
				return changed, false, err
			}
		}
	}
	if replace {
		// Others may be replacing the label too, and their chunks are there before their index.
		// Only those are certainly nobody's whose index we deleted ourselves.
		strangers = slices.DeleteFunc(strangers, func(m corev1.ConfigMap) bool {
			return same || have == nil || spoiled || m.Labels[labelPackage] != have.key()
		})
	}
	for _, m := range strangers {
		if _, err := remove(ctx, c, m.Name, m.UID); err != nil {
			return changed, false, err
		}
		changed = true
	}
	return changed, true, nil
}

// fill makes sure that all chunks are there with the right content, and returns what else is
// stored under the label: what interrupted puts and replaced packages left.
func fill(ctx context.Context, c typed.ConfigMapInterface, want index, pkg []byte) (changed bool, strangers []corev1.ConfigMap, err error) {
	doing := fmt.Sprintf("storing package %q", want.label)
	list, err := c.List(ctx, metav1.ListOptions{LabelSelector: Selector + "," + labelChaincode + "=" + labelValue(want.label) + "," + labelPackage})
	if err != nil {
		return false, nil, clusterError(ctx, doing, err)
	}
	names := want.chunkNames()
	good := map[string]bool{}
	for _, m := range list.Items {
		switch i := slices.Index(names, m.Name); {
		case m.Annotations[annotationLabel] != want.label: // whose label value is the same
		case i < 0:
			strangers = append(strangers, m)
		case bytes.Equal(m.BinaryData[keyData], want.chunk(pkg, i)):
			good[m.Name] = true
		default:
			if _, err := remove(ctx, c, m.Name, m.UID); err != nil {
				return changed, nil, err
			}
		}
	}
	for i, name := range names {
		if good[name] {
			continue
		}
		_, err := c.Create(ctx, want.chunkMap(name, want.chunk(pkg, i)), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) { // by a put of the same package beside us
			return changed, nil, clusterError(ctx, doing, err)
		}
		changed = changed || err == nil
	}
	return changed, strangers, nil
}

// remove deletes a ConfigMap if it is still the one that was seen.
func remove(ctx context.Context, c typed.ConfigMapInterface, name string, uid types.UID) (gone bool, err error) {
	err = c.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return false, nil
	}
	return false, clusterError(ctx, fmt.Sprintf("deleting configmap/%s", name), err)
}

// Get reads the package of a label and checks it; ErrAbsent if there is none.
func Get(ctx context.Context, c typed.ConfigMapInterface, label string) ([]byte, error) {
	pkg, err := get(ctx, c, label)
	if errors.Is(err, ErrDenied) {
		return nil, exit.WithHint(err, `steps read packages as service account hlf-flow; "pivt install" gives it the right`)
	}
	return pkg, err
}

func get(ctx context.Context, c typed.ConfigMapInterface, label string) ([]byte, error) {
	var last error
	for range maxTries {
		x, err := look(ctx, c, label)
		if err != nil {
			return nil, err
		}
		if x == nil {
			return nil, absent("package %q is not stored in this namespace", label)
		}
		pkg, err := x.read(ctx, c)
		if err == nil || !errors.Is(err, ErrAbsent) {
			return pkg, err
		}
		last = err
		// Replaced while we read, or broken?
		now, err := look(ctx, c, label)
		if err != nil {
			return nil, err
		}
		if now != nil && now.uid == x.uid {
			return nil, last
		}
	}
	return nil, exit.Transient(last)
}

func (x index) read(ctx context.Context, c typed.ConfigMapInterface) ([]byte, error) {
	pkg := make([]byte, 0, x.bytes)
	for _, name := range x.chunkNames() {
		m, err := c.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, absent("package %q is not complete: configmap/%s is missing", x.label, name)
		}
		if err != nil {
			return nil, clusterError(ctx, fmt.Sprintf("reading package %q", x.label), err)
		}
		pkg = append(pkg, m.BinaryData[keyData]...)
	}
	if sum := sha256.Sum256(pkg); hex.EncodeToString(sum[:]) != x.hash {
		return nil, exit.WithHint(failed(ErrSpoiled, "package %q: somebody changed it: sha256 is %x and should be %s", x.label, sum, x.hash), pushHint)
	}
	return pkg, nil
}

// Hash is the sha256 of the package stored under a label, hexadecimal, without reading it;
// ErrAbsent if there is none.
func Hash(ctx context.Context, c typed.ConfigMapInterface, label string) (string, error) {
	x, err := look(ctx, c, label)
	if err != nil {
		return "", err
	}
	if x == nil {
		return "", absent("package %q is not stored in this namespace", label)
	}
	return x.hash, nil
}
