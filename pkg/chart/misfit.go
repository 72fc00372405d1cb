package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"helm.sh/helm/v3/pkg/chartutil"

	"pivt.io/pivt/pkg/network"
)

// Misfits are what the charts' schema, which is the same for all of them, has against the values.
// Render finds them too; but only this tells at which keys they are, so that their
// places in the files can be found.
func Misfits(values map[string]any) ([]network.Misfit, error) {
	c, err := load(Network)
	if err != nil {
		return nil, err
	}
	whole, err := chartutil.CoalesceValues(c, clone(values)) // as Helm judges them
	if err != nil {
		return nil, fmt.Errorf("reading the values: %w", err)
	}
	compiled, raw, err := compile(c.Schema)
	if err != nil {
		return nil, err
	}
	given, err := plain(whole)
	if err != nil {
		return nil, fmt.Errorf("reading the values: %w", err)
	}
	var refused *jsonschema.ValidationError
	if err := compiled.Validate(given); !errors.As(err, &refused) {
		return nil, err
	}
	return misfits(refused, raw), nil
}

const schemaURL = "file:///values.schema.json"

func compile(data []byte) (*jsonschema.Schema, any, error) {
	raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the charts' schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(schemaURL, raw); err != nil {
		return nil, nil, fmt.Errorf("reading the charts' schema: %w", err)
	}
	compiled, err := compiler.Compile(schemaURL)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the charts' schema: %w", err)
	}
	return compiled, raw, nil
}

// plain gives the values the types that the validator knows.
func plain(values any) (any, error) {
	data, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(data))
}

// misfits are the leaves of the validator's tree: what is above them only says that there are some.
func misfits(e *jsonschema.ValidationError, schema any) []network.Misfit {
	if len(e.Causes) > 0 {
		var all []network.Misfit
		for _, cause := range e.Causes {
			all = append(all, misfits(cause, schema)...)
		}
		return all
	}
	if more, ok := e.ErrorKind.(*kind.AdditionalProperties); ok {
		var all []network.Misfit
		names := slices.Sorted(slices.Values(more.Properties)) // the validator walks maps
		for _, name := range names {
			all = append(all, network.Misfit{Path: e.InstanceLocation, Unknown: name, Known: known(schema, e.InstanceLocation)})
		}
		return all
	}
	_, text, _ := strings.Cut(e.Error(), "': ") // "at '/peer/image': got string, want object"
	return []network.Misfit{{Path: e.InstanceLocation, Message: text}}
}

// known lists the keys that the schema has at a place.
func known(schema any, path []string) []string {
	root := schema
	at := resolve(root, schema)
	for _, part := range path {
		if properties, ok := at["properties"].(map[string]any); ok && properties[part] != nil {
			at = resolve(root, properties[part])
			continue
		}
		if _, err := strconv.Atoi(part); err != nil || at["items"] == nil {
			return nil
		}
		at = resolve(root, at["items"])
	}
	properties, _ := at["properties"].(map[string]any)
	return slices.Sorted(maps.Keys(properties))
}

// resolve follows the schema's references to its definitions.
func resolve(root, schema any) map[string]any {
	at, _ := schema.(map[string]any)
	if name, ok := at["$ref"].(string); ok {
		all, _ := root.(map[string]any)
		definitions, _ := all["definitions"].(map[string]any)
		at, _ = definitions[name[len("#/definitions/"):]].(map[string]any)
	}
	return at
}
