package workflow

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// ContentLabel holds a hash of what was submitted, by which an identical run is found.
const ContentLabel = "pivt.io/content"

const contentDigits = 40 // of a hexadecimal SHA-256; label values hold 63 characters

// Decode reads a rendered chart: YAML or JSON with exactly one Workflow. Fields that Argo
// does not know are errors, because the API server would drop them without a word.
func Decode(manifest []byte) (*wfv1.Workflow, error) {
	var found *wfv1.Workflow
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading the workflow: %w", err)
		}
		var any map[string]any
		if err := yaml.Unmarshal(doc, &any); err != nil {
			return nil, fmt.Errorf("reading the workflow: %w", err)
		}
		if len(any) == 0 { // comments only
			continue
		}
		if any["kind"] != "Workflow" || any["apiVersion"] != wfv1.SchemeGroupVersion.String() {
			return nil, fmt.Errorf("reading the workflow: %v of %v is not a Workflow of %s", any["kind"], any["apiVersion"], wfv1.SchemeGroupVersion)
		}
		if found != nil {
			return nil, errors.New("reading the workflow: there is more than one")
		}
		found = &wfv1.Workflow{}
		if err := yaml.UnmarshalStrict(doc, found); err != nil {
			return nil, fmt.Errorf("reading the workflow: %w", err)
		}
	}
	switch {
	case found == nil:
		return nil, errors.New("reading the workflow: there is none")
	case found.Name == "" && found.GenerateName == "":
		return nil, errors.New("reading the workflow: it has neither name nor generateName")
	}
	return found, nil
}

// contentOf hashes what makes two workflows the same work.
func contentOf(wf *wfv1.Workflow) (string, error) {
	data, err := json.Marshal(struct {
		Name, GenerateName  string
		Labels, Annotations map[string]string
		Spec                wfv1.WorkflowSpec
	}{wf.Name, wf.GenerateName, wf.Labels, wf.Annotations, wf.Spec})
	if err != nil {
		return "", fmt.Errorf("reading the workflow: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:contentDigits], nil
}
