package launcher

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// release hands over what the peer reads itself: CouchDB's indexes, which Fabric takes
// from nowhere else once a package was built outside, and the address of a server.
func release(built, output string, env func(string) string) error {
	s, err := readSeal(built)
	if err != nil {
		return fmt.Errorf("build %s: %w", built, err)
	}
	from, to := filepath.Join(built, metaInf, "statedb"), filepath.Join(output, "statedb")
	if err := copyTree(from, to, isIndex); err != nil {
		return fmt.Errorf("package %s: copying indexes: %w", s.Label, err)
	}
	if !s.Kind.service() {
		return nil
	}
	if err := releaseService(built, output, env); err != nil {
		return fmt.Errorf("package %s: %w", s.Label, err)
	}
	return nil
}

// indexPath is where indexes of channels and of collections are (internal/ccmetadata).
var indexPath = regexp.MustCompile(`^couchdb/(collections/[^/]+/)?indexes/[^/]+\.json$`)

func isIndex(path string) bool { return indexPath.MatchString(filepath.ToSlash(path)) }

func releaseService(built, output string, env func(string) string) error {
	c, err := readConnection(filepath.Join(built, connectionFile))
	if err != nil {
		return err
	}
	if err := c.resolve(env); err != nil {
		return err
	}
	if err := c.fillTLS(env); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	dir := filepath.Join(output, "chaincode", "server")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	// It may hold a key, which the peer reads and nobody else has to.
	return os.WriteFile(filepath.Join(dir, connectionFile), append(data, '\n'), 0o600)
}
