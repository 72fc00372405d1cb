package depot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

const (
	// MaxBytes is the largest package that ConfigMaps are used for. More would load etcd, whose
	// databases are small by design; registries have no such limit.
	MaxBytes = 16 << 20
	// chunkBytes leaves room in a ConfigMap, which holds 1 MiB with names and keys.
	chunkBytes = 900 << 10
)

// Selector finds every ConfigMap of this package.
const Selector = "app.kubernetes.io/component=chaincode-package"

const (
	labelPart      = "app.kubernetes.io/part-of"
	labelManager   = "app.kubernetes.io/managed-by"
	labelComponent = "app.kubernetes.io/component"
	labelChaincode = "pivt.io/chaincode" // the package's label, as far as a label value can hold it
	labelPackage   = "pivt.io/package"   // what a chunk belongs to

	annotationLabel = "pivt.io/chaincode-label" // whole

	keyLabel, keyHash, keyBytes, keyChunks = "label", "sha256", "bytes", "chunks"
	keyData                                = "data"

	hashInNames = 32 // hexadecimal digits
)

// index is the ConfigMap that makes chunks a package.
type index struct {
	label  string
	hash   string // sha256 of the package, hexadecimal
	bytes  int
	chunks int
	uid    types.UID
}

func newIndex(label string, pkg []byte) index {
	sum := sha256.Sum256(pkg)
	return index{label: label, hash: hex.EncodeToString(sum[:]), bytes: len(pkg), chunks: (len(pkg) + chunkBytes - 1) / chunkBytes}
}

// indexName is unique for a label: two that Kubernetes would spell alike differ in the hash.
func indexName(label string) string {
	sum := sha256.Sum256([]byte(label))
	return network.Shorten(fmt.Sprintf("hlf-package--%s--%x", network.Label(label), sum[:4]), 63)
}

// key tells a package's chunks from all others, also from those of the same bytes under
// another label, which come and go by themselves.
func (x index) key() string {
	sum := sha256.Sum256([]byte(x.label + "\n" + x.hash))
	return hex.EncodeToString(sum[:])[:hashInNames]
}

func (x index) chunkNames() []string {
	names, key := make([]string, x.chunks), x.key()
	for i := range names {
		names[i] = fmt.Sprintf("hlf-package--%s--%02d", key, i)
	}
	return names
}

// chunk cuts the i-th piece out of the package.
func (x index) chunk(pkg []byte, i int) []byte {
	return pkg[i*chunkBytes : min((i+1)*chunkBytes, len(pkg))]
}

var notInLabelValue = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

func labelValue(label string) string {
	v := notInLabelValue.ReplaceAllString(label, "-")
	return strings.Trim(v[:min(63, len(v))], "-_.")
}

func (x index) object(name string) *corev1.ConfigMap {
	immutable := true
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			labelPart: "hlf-kube", labelManager: "pivt", labelComponent: "chaincode-package", labelChaincode: labelValue(x.label)}},
		Immutable: &immutable,
	}
}

func (x index) configMap() *corev1.ConfigMap {
	m := x.object(indexName(x.label))
	m.Data = map[string]string{keyLabel: x.label, keyHash: x.hash, keyBytes: strconv.Itoa(x.bytes), keyChunks: strconv.Itoa(x.chunks)}
	return m
}

func (x index) chunkMap(name string, data []byte) *corev1.ConfigMap {
	m := x.object(name)
	m.Labels[labelPackage] = x.key()
	m.Annotations = map[string]string{annotationLabel: x.label}
	m.BinaryData = map[string][]byte{keyData: data}
	return m
}

// look reads the index of a label, nil if there is none.
func look(ctx context.Context, c typed.ConfigMapInterface, label string) (*index, error) {
	m, err := c.Get(ctx, indexName(label), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, clusterError(ctx, fmt.Sprintf("looking for package %q", label), err)
	}
	x := &index{label: m.Data[keyLabel], hash: m.Data[keyHash], uid: m.UID}
	if x.bytes, err = strconv.Atoi(m.Data[keyBytes]); err == nil {
		x.chunks, err = strconv.Atoi(m.Data[keyChunks])
	}
	sum, notHex := hex.DecodeString(x.hash)
	// Nothing in it is believed that would make us read without end.
	if err != nil || notHex != nil || len(sum) != sha256.Size || x.label != label || x.bytes < 0 || x.bytes > MaxBytes ||
		x.chunks != (x.bytes+chunkBytes-1)/chunkBytes {
		return x, exit.WithHint(failed(ErrSpoiled, "configmap/%s: is no index of package %q", m.Name, label), pushHint)
	}
	return x, nil
}
