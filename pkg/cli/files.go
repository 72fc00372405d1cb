package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"

	"pivt.io/pivt/pkg/chart"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// maxFile is more than package network accepts; reading stops there, so a mistaken
// "-f disk.img" is refused without being read.
const maxFile = 2 << 20

func defaultFiles() []string { return []string{"crypto-config.yaml", "network.yaml"} }

// inputs is what a command knows after loading the two files.
type inputs struct {
	sources  []network.Source // as they are on disk
	network  *network.Network
	values   map[string]any
	warnings network.Problems
	beside   map[string]string // files that the sources name, as they are on disk
}

// load reads and validates the files, printing warnings.
func (g *globals) load(s *State) (*inputs, error) {
	sources, err := g.sources(s)
	if err != nil {
		return nil, err
	}
	in, err := g.loadFrom(s, sources)
	if err != nil {
		return nil, err
	}
	if !g.quiet && g.output != outputJSON {
		for _, w := range in.warnings {
			fmt.Fprintln(s.Stderr, w)
		}
	}
	return in, nil
}

// loadFrom validates files that have been read, with the files that these name.
func (g *globals) loadFrom(s *State, sources []network.Source) (*inputs, error) {
	beside := map[string]string{}
	whole, err := network.Inline(sources, g.set, func(base, name string) ([]byte, error) {
		data, err := readBeside(s, base, name)
		beside[name] = string(data)
		return data, err
	})
	if err != nil {
		return nil, g.allProblems(sources, err)
	}
	n, problems, err := network.Load(whole, g.set)
	if err != nil {
		return nil, err
	}
	values, err := network.Values(whole, g.set)
	if err != nil {
		return nil, err
	}
	misfits, err := chart.Misfits(values)
	if err != nil {
		return nil, err
	}
	if len(misfits) > 0 {
		return nil, network.Misfits(whole, g.set, misfits)
	}
	return &inputs{sources: sources, network: n, values: values, warnings: problems.Warnings(), beside: beside}, nil
}

// allProblems adds to the problems of files that files name those of the files themselves.
func (g *globals) allProblems(sources []network.Source, err error) error {
	var beside, own *network.InvalidError
	_, _, other := network.Load(sources, g.set)
	if !errors.As(err, &beside) || !errors.As(other, &own) {
		return err
	}
	all := slices.Clone(beside.Problems)
	for _, p := range own.Problems {
		// A list that could not be read is no list, either; that is said once.
		if !slices.ContainsFunc(beside.Problems, func(b network.Problem) bool { return b.File == p.File && b.Line == p.Line && b.Column == p.Column }) {
			all = append(all, p)
		}
	}
	return exit.With(&network.InvalidError{Problems: all}, exit.Invalid)
}

// readBeside reads a file that another one names, relative to that.
func readBeside(s *State, base, name string) ([]byte, error) {
	if filepath.IsAbs(name) {
		return readSource(s, name)
	}
	if base == "" || base == standardInput {
		return readSource(s, "./"+name)
	}
	return readSource(s, filepath.Join(filepath.Dir(s.path(base)), name))
}

func (g *globals) sources(s *State) ([]network.Source, error) {
	names := g.files
	if len(names) == 0 {
		names = defaultFiles()
	}
	var sources []network.Source
	for _, name := range names {
		data, err := readSource(s, name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && len(g.files) == 0:
			return nil, exit.WithHint(exit.With(fmt.Errorf("%s is not in this directory", name), exit.Invalid),
				`run "pivt init" to write one, or name your files with -f`)
		case err != nil:
			return nil, exit.With(fmt.Errorf("reading %s: %w", name, pathless(err)), exit.Invalid)
		}
		sources = append(sources, network.Source{Name: name, Data: data})
	}
	return sources, nil
}

func readSource(s *State, name string) ([]byte, error) {
	if name == standardInput {
		return io.ReadAll(io.LimitReader(s.Stdin, maxFile))
	}
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// pathless drops the path an os error repeats.
func pathless(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// kube connects to the cluster the flags and the kubeconfig choose.
func (g *globals) kube() (*kube.Client, error) {
	if wrong := validation.IsDNS1123Label(g.namespace); g.namespace != "" && len(wrong) > 0 {
		return nil, usageErrorf("namespace %q: Kubernetes takes lower case letters, digits and dashes, at most 63, beginning and ending with a letter or digit", g.namespace)
	}
	return kube.New(kube.Options{Kubeconfig: g.kubeconfig, Context: g.context, Namespace: g.namespace})
}

// material reads keys and certificates of the network from disk.
func (g *globals) material(s *State, n *network.Network) (*pki.Material, error) {
	m, err := pki.Load(s.path(g.cryptoDir), n)
	if err != nil {
		return nil, exit.WithHint(err, `run "pivt crypto generate" to make what is missing`)
	}
	return m, nil
}
