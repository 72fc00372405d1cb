package chart

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/ignore"

	"pivt.io/pivt/charts"
)

// Names of the charts.
const (
	Network       = "hlf-kube"
	ChannelFlow   = "channel-flow"
	ChaincodeFlow = "chaincode-flow"
	BackupFlow    = "backup-flow"
)

// Names lists the charts in the order of an installation.
func Names() []string { return []string{Network, ChannelFlow, ChaincodeFlow, BackupFlow} }

// load reads one embedded chart as "helm" would read its directory.
func load(name string) (*chart.Chart, error) {
	files, err := read(charts.FS, name)
	if err != nil {
		return nil, fmt.Errorf("loading chart %s: %w", name, err)
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("loading chart %s: %w", name, err)
	}
	return c, nil
}

// read collects a chart's files. Helm's own LoadFiles does not look at .helmignore, so
// what lies beside a chart for its developers would travel in every release.
func read(fsys fs.FS, dir string) ([]*loader.BufferedFile, error) {
	text, err := fs.ReadFile(fsys, path.Join(dir, ignore.HelmIgnore))
	if err != nil {
		return nil, err
	}
	rules, err := ignore.Parse(strings.NewReader(string(text)))
	if err != nil {
		return nil, err
	}
	rules.AddDefaults()
	var files []*loader.BufferedFile
	err = fs.WalkDir(fsys, dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p == dir {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(p, dir+"/")
		switch {
		case rules.Ignore(name, info) && d.IsDir():
			return fs.SkipDir
		case rules.Ignore(name, info), d.IsDir():
			return nil
		}
		data, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		files = append(files, &loader.BufferedFile{Name: name, Data: data})
		return nil
	})
	return files, err
}
