package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/deploy"
)

// apiVersion is the version of every documented shape that -o json and -o yaml print.
const apiVersion = "pivt.io/v1alpha1"

type outputFormat string

const (
	outputText outputFormat = "text"
	outputJSON outputFormat = "json"
	outputYAML outputFormat = "yaml"
	outputName outputFormat = "name"
	outputWide outputFormat = "wide"
)

func outputFormats() []string { return []string{"text", "json", "yaml", "name", "wide"} }

// String implements pflag.Value.
func (o *outputFormat) String() string {
	if *o == "" {
		return string(outputText)
	}
	return string(*o)
}

// Set implements pflag.Value.
func (o *outputFormat) Set(v string) error {
	for _, f := range outputFormats() {
		if v == f {
			*o = outputFormat(v)
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(outputFormats(), ", "))
}

// Type implements pflag.Value.
func (o *outputFormat) Type() string { return "FORMAT" }

// document is the outer shape of everything printed as JSON or YAML.
type document struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Data       any    `json:"data"`
}

// structured prints data as JSON or YAML if that was asked for, and reports whether.
func (g *globals) structured(w io.Writer, kind string, data any) (bool, error) {
	if g.output != outputJSON && g.output != outputYAML {
		return false, nil
	}
	d := document{apiVersion, kind, data}
	var b []byte
	var err error
	if g.output == outputJSON {
		b, err = json.MarshalIndent(d, "", "  ")
		b = append(b, '\n')
	} else {
		b, err = yaml.Marshal(d)
	}
	if err != nil {
		return true, fmt.Errorf("printing %s: %w", kind, err)
	}
	_, err = w.Write(b)
	return true, err
}

// changes prints what happened to which object, one line each, as kubectl does.
func (g *globals) changes(w io.Writer, changes []deploy.Change) error {
	if done, err := g.structured(w, "ChangeSet", changes); done || err != nil {
		return err
	}
	for _, c := range changes {
		if g.output == outputName {
			fmt.Fprintln(w, c.Object)
			continue
		}
		fmt.Fprintf(w, "%s %s\n", c.Object, c.Verb)
	}
	return nil
}

// table prints rows under upper-case heads.
func table(w io.Writer, head []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}
