package pki

import (
	"fmt"
	"os"
	"path/filepath"

	"pivt.io/pivt/pkg/network"
)

// Roots reads the PEM certificates of the organisation's CA in the tree at dir; none if the
// tree does not have the organisation yet.
func Roots(dir string, o *network.Org) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(Tree{Dir: dir}.MSPDir(o), "cacerts", "*.pem"))
	if err != nil {
		return nil, fmt.Errorf("looking for the CA of org %q: %w", o.Name, err)
	}
	var roots []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("reading the CA of org %q: %w", o.Name, err)
		}
		roots = append(roots, string(b))
	}
	return roots, nil
}
