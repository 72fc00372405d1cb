package backuppod

import (
	"cmp"
	"context"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pivt.io/pivt/pkg/keeper"
)

// maxReason bounds what is told about a failure, in bytes.
const maxReason = 1024

// reason is why the workflow failed, as its last failed pod said; or Argo's word for how it ended.
func (t *task) reason(ctx context.Context, k *keeper.Keeper) string {
	workflows := k.Dynamic.Resource(schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"})
	wf, err := workflows.Namespace(k.Namespace).Get(ctx, k.Workflow, metav1.GetOptions{})
	if err != nil {
		return t.f.status
	}
	text := lastWords(wf)
	return cmp.Or(text[:min(len(text), maxReason)], t.f.status)
}

// lastWords is the message of the pod that failed last.
func lastWords(wf *unstructured.Unstructured) string {
	nodes, _, _ := unstructured.NestedMap(wf.Object, "status", "nodes")
	type failure struct{ at, words string }
	var all []failure
	for _, value := range nodes {
		node, ok := value.(map[string]any)
		if !ok || node["type"] != "Pod" || node["phase"] != "Failed" && node["phase"] != "Error" {
			continue
		}
		words, _ := node["message"].(string)
		at, _ := node["finishedAt"].(string)
		if words = strings.TrimSpace(words); words != "" {
			all = append(all, failure{at, words})
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MaxFunc(all, func(a, b failure) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.words, b.words)) }).words
}
