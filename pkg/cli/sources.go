package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/google/go-containerregistry/pkg/authn"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

const standardInput = "-"

// packages makes packages of the sources on this machine.
func (g *globals) packages(s *State) *deploy.Packages {
	return &deploy.Packages{
		Open:     func(cc *network.Chaincode) (fs.FS, error) { return openSource(s, cc) },
		Keychain: authn.DefaultKeychain,
	}
}

// sourceDir is a chaincode's source directory: beside the file that names it.
func sourceDir(s *State, cc *network.Chaincode) string {
	if filepath.IsAbs(cc.Source) {
		return cc.Source
	}
	base := s.Dir
	if cc.SourceFile != "" && cc.SourceFile != standardInput {
		base = filepath.Dir(s.path(cc.SourceFile))
	}
	return filepath.Join(base, cc.Source)
}

func openSource(s *State, cc *network.Chaincode) (fs.FS, error) {
	dir := sourceDir(s, cc)
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return nil, exit.With(fmt.Errorf("chaincode %q: source %s: %w", cc.Name, s.relative(dir), pathless(err)), exit.Invalid)
	case !info.IsDir():
		return nil, exit.With(fmt.Errorf("chaincode %q: source %s is not a directory", cc.Name, s.relative(dir)), exit.Invalid)
	}
	return os.DirFS(dir), nil
}

// edit is a change of the user's file that has been validated and not been written.
type edit struct {
	file    string
	data    []byte
	changed bool
	in      *inputs // with the change
}

// edit changes keys of chaincodes, by name and key, in the file that defines them.
func (g *globals) edit(s *State, in *inputs, set map[string]map[string]string) (*edit, error) {
	i := definesChaincodes(in.sources)
	if i < 0 {
		return nil, exit.With(errors.New("network.chaincodes is in none of the files, so there is no place to write to"), exit.Invalid)
	}
	src := in.sources[i]
	if src.Name == standardInput {
		return nil, exit.WithHint(exit.With(errors.New("the chaincodes come from standard input, and this command has to write their version into a file"), exit.Invalid),
			"name the file with -f, or change it yourself and run \"pivt chaincode install\"")
	}
	var names []string
	for name := range set {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		var err error
		if src, err = network.SetChaincode(src, name, set[name]); err != nil {
			return nil, err
		}
	}
	sources := slices.Clone(in.sources)
	sources[i] = src
	changed, err := g.loadFrom(s, sources)
	if err != nil {
		return nil, fmt.Errorf("%s would be invalid: %w", src.Name, err)
	}
	return &edit{file: src.Name, data: src.Data, changed: string(src.Data) != string(in.sources[i].Data), in: changed}, nil
}

// definesChaincodes is the file whose network.chaincodes count: the last that has the list,
// because Helm replaces lists as a whole.
func definesChaincodes(sources []network.Source) int {
	for i := len(sources) - 1; i >= 0; i-- {
		var file struct {
			Network struct {
				Chaincodes []any `json:"chaincodes"`
			} `json:"network"`
		}
		// What is not as it should be was reported when the files were loaded.
		if err := yaml.Unmarshal(sources[i].Data, &file); err == nil && file.Network.Chaincodes != nil {
			return i
		}
	}
	return -1
}

// write replaces the file at once, so that an interrupt leaves the one or the other.
func (e *edit) write(s *State) error {
	if !e.changed {
		return nil
	}
	path, err := filepath.EvalSymlinks(s.path(e.file))
	if err != nil {
		return fmt.Errorf("writing %s: %w", e.file, pathless(err))
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("writing %s: %w", e.file, pathless(err))
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", e.file, pathless(err))
	}
	defer os.Remove(temp.Name()) // once it has its name, there is nothing to remove
	_, err = temp.Write(e.data)
	if err == nil {
		err = temp.Chmod(info.Mode().Perm())
	}
	if err == nil {
		err = temp.Sync()
	}
	if cerr := temp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", e.file, pathless(err))
	}
	return nil
}
