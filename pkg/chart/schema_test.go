package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// The schema is made from the comments of the three values.yaml and from
// charts/files.schema.json, which holds the formats of the user's files. It is the same in
// all charts, because the user's files go to all of them: what is not one chart's business
// must be no typo there.
//
//	# @schema {"minimum": 1}     JSON that is added to what the default value says
//	# -- What the value does.    its description; every value needs one

const chartsDir = "../../charts"

func TestSchemaIsGenerated(t *testing.T) {
	t.Parallel()
	want, err := makeSchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		file := filepath.Join(chartsDir, name, "values.schema.json")
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what values.yaml and files.schema.json say; run: go test ./pkg/chart -update", file)
		}
	}
}

func makeSchema() ([]byte, error) {
	root := map[string]any{}
	for _, name := range Names() {
		s, err := valuesSchema(name)
		if err != nil {
			return nil, err
		}
		if err := mergeSchema(root, s, name, true); err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(filepath.Join(chartsDir, "files.schema.json"))
	if err != nil {
		return nil, err
	}
	var files map[string]any
	if err := json.Unmarshal(data, &files); err != nil {
		return nil, err
	}
	if err := mergeSchema(root, files, "", false); err != nil {
		return nil, err
	}
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "Values of pivt's charts: the user's files and every chart's own. Generated; do not edit."
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err = enc.Encode(root)
	return out.Bytes(), err
}

// mergeSchema adds b to a. Two charts that share a value must mean the same by it.
func mergeSchema(a, b map[string]any, at string, same bool) error {
	for key, value := range b {
		old, known := a[key]
		oldMap, isMap := old.(map[string]any)
		newMap, both := value.(map[string]any)
		switch {
		case known && isMap && both:
			if _, leaf := oldMap["default"]; leaf && same && !reflect.DeepEqual(oldMap, newMap) {
				return fmt.Errorf("%s.%s is not the same value in another chart:\n%v\n%v", at, key, newMap, oldMap)
			}
			if _, ref := newMap["$ref"]; ref { // in draft-07 nothing counts beside it
				a[key] = newMap
				continue
			}
			if err := mergeSchema(oldMap, newMap, at+"."+key, same); err != nil {
				return err
			}
		case known && same && !reflect.DeepEqual(old, value):
			return fmt.Errorf("%s.%s is not the same in another chart: %v, %v", at, key, value, old)
		default:
			a[key] = value
		}
	}
	return nil
}

func valuesSchema(name string) (map[string]any, error) {
	data, err := os.ReadFile(filepath.Join(chartsDir, name, "values.yaml"))
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	return objectSchema(doc.Content[0], name)
}

// objectSchema makes a closed object of a mapping.
func objectSchema(n *yaml.Node, at string) (map[string]any, error) {
	properties := map[string]any{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		s, err := valueSchema(value, key.HeadComment, at+"."+key.Value)
		if err != nil {
			return nil, err
		}
		properties[key.Value] = s
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}, nil
}

func valueSchema(n *yaml.Node, comment, at string) (map[string]any, error) {
	added, description, err := annotations(comment)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	open := added["additionalProperties"] == true
	if n.Kind == yaml.MappingNode && len(n.Content) > 0 && !open {
		return objectSchema(n, at)
	}
	if description == "" && !strings.Contains(" OrdererOrgs PeerOrgs network ", " "+filepath.Ext(at)[1:]+" ") {
		return nil, fmt.Errorf("%s has no description: write \"# -- …\" above it", at)
	}
	var value any
	if err := n.Decode(&value); err != nil {
		return nil, err
	}
	s := map[string]any{"description": description, "default": value}
	switch n.ShortTag() {
	case "!!bool":
		s["type"] = "boolean"
	case "!!int":
		s["type"] = "integer"
	case "!!str":
		s["type"] = "string"
	case "!!seq":
		s["type"] = "array"
	case "!!map":
		s["type"] = "object"
	default:
		return nil, fmt.Errorf("%s: the default is %s; only types of JSON", at, n.ShortTag())
	}
	for k, v := range added {
		s[k] = v
	}
	return s, nil
}

// annotations reads the comment above a value.
func annotations(comment string) (added map[string]any, description string, err error) {
	for _, line := range strings.Split(comment, "\n") {
		line = strings.TrimPrefix(line, "# ")
		if text, ok := strings.CutPrefix(line, "@schema "); ok {
			if err := json.Unmarshal([]byte(text), &added); err != nil {
				return nil, "", fmt.Errorf("%q: %w", line, err)
			}
		}
		if text, ok := strings.CutPrefix(line, "-- "); ok {
			description = text
		}
	}
	return added, description, nil
}
