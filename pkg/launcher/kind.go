package launcher

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pivt.io/pivt/pkg/exit"
)

// kind is the type of a package, in lower case: Fabric's command line writes it into the
// package as the user typed it, and Fabric's own builders do not mind either.
type kind string

const (
	kindGolang   kind = "golang"
	kindJava     kind = "java"
	kindNode     kind = "node"
	kindImage    kind = "k8s"      // an image by digest, as fabric-builder-k8s packages it
	kindService  kind = "ccaas"    // the address of a server, as Fabric's own ccaas builder has it
	kindExternal kind = "external" // the same under the name of Fabric's older examples
)

func kinds() []kind {
	return []kind{kindGolang, kindJava, kindNode, kindImage, kindService, kindExternal}
}

// source reports whether a package of this kind has to be built.
func (k kind) source() bool { return k == kindGolang || k == kindJava || k == kindNode }

// service reports whether the chaincode is a server that the peer dials.
func (k kind) service() bool { return k == kindService || k == kindExternal }

const metadataFile = "metadata.json"

// metadata is metadata.json. Fabric checks the label and passes on the rest as it came.
type metadata struct {
	Type  string `json:"type"`
	Label string `json:"label"`
	Path  string `json:"path"` // for golang the package to build
}

func (m *metadata) kind() kind { return kind(strings.ToLower(m.Type)) }

func readMetadata(dir string) (metadata, error) {
	var m metadata
	data, err := os.ReadFile(filepath.Join(dir, metadataFile))
	if err != nil {
		return m, fmt.Errorf("reading the package's metadata: %w", err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, exit.With(fmt.Errorf("%s: %w", metadataFile, err), exit.Invalid)
	}
	return m, nil
}

// detect claims every kind there is, so that a peer needs no other builder.
func detect(dir string) error {
	m, err := readMetadata(dir)
	if err != nil {
		return err
	}
	if !slices.Contains(kinds(), m.kind()) {
		return errNotOurs
	}
	return nil
}
