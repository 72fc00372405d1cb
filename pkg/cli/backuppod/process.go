package backuppod

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/keeper"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
	"pivt.io/pivt/pkg/repository"
	"pivt.io/pivt/pkg/volume"
)

// Process is what a pod's process may touch of its surroundings.
type Process struct {
	Args           []string // without the program's name
	Env            func(string) string
	Stdout, Stderr io.Writer
	Root           string // where the pod's inputs are mounted
	// Termination is the file whose text Kubernetes keeps as the reason of an exit.
	Termination string
	// Cluster reaches the API server; default is the one of the pod's own cluster.
	Cluster func() (kubernetes.Interface, dynamic.Interface, error)
}

// Main runs the process.
func Main(ctx context.Context, p Process) exit.Code {
	if p.Cluster == nil {
		p.Cluster = inCluster
	}
	root := &cobra.Command{
		Use:           "pivt-backup",
		Short:         "The part of pivt that runs inside pods of a backup",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetErr(p.Stderr)
	root.SetOut(p.Stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newStep(p), newSave(p), newRestore(p), newFinish(p), newUndo(p), newGuard(p), newList(p), newShow(p), newDelete(p))
	root.SetArgs(p.Args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exit.OK
	}
	if ctx.Err() != nil {
		// Told to end, not failed: whoever told it will want it again.
		err = exit.With(fmt.Errorf("stopped: %w", err), exit.TryAgain)
	}
	p.log().Error("failed", "error", err.Error(), "again", exit.IsTransient(err))
	p.terminate(err)
	return exit.CodeOf(err)
}

// terminate leaves the reason where Argo and kubectl show it. A failure to write is dropped: it
// must not hide the error itself.
func (p Process) terminate(err error) {
	if p.Termination == "" {
		return
	}
	_ = os.WriteFile(p.Termination, []byte(exit.Termination(err)), 0o600)
}

func (p Process) log() *slog.Logger { return slog.New(slog.NewJSONHandler(p.Stderr, nil)) }

// path is where an input of the pod is mounted; the defaults of package backup lie below /run/pivt.
func (p Process) path(mounted string) string {
	return filepath.Join(p.Root, strings.TrimPrefix(mounted, "/run/pivt"))
}

// settings are those of the chart, handed down by annotation.
func (p Process) settings() (backup.Settings, error) {
	var s backup.Settings
	data, err := os.ReadFile(filepath.Join(p.Root, "settings", "settings.json"))
	if err != nil {
		return s, fmt.Errorf("reading the settings: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("reading the settings: %w", err)
	}
	return s, nil
}

// use is what the repository is opened for.
type use int

const (
	toRead use = iota
	toWrite
	toCreate // if there is none
)

// open opens the repository of the settings.
func (p Process) open(ctx context.Context, s backup.Settings, u use) (*repository.Repository, error) {
	log := p.log()
	return repository.Open(ctx, s.Target, repository.Options{
		Credentials: p.path(backup.CredentialsDir), Dir: p.path(backup.RepositoryDir), Cache: p.path(backup.CacheDir),
		Create: u == toCreate, ReadOnly: u == toRead, Report: func(text string) { log.Info("repository", "said", text) },
	})
}

// public reads the organisations' public certificates, by Org.Name, and as they are, by key of the
// ConfigMap.
func (p Process) public(n *network.Network) (map[string]*pki.Public, map[string]json.RawMessage, error) {
	all, raw := map[string]*pki.Public{}, map[string]json.RawMessage{}
	for _, o := range n.Orgs() {
		data, err := os.ReadFile(filepath.Join(p.Root, "msp", o.PublicKey()))
		if err != nil {
			return nil, nil, exit.WithHint(fmt.Errorf("reading the public certificates of org %q: %w", o.Name, err),
				`"pivt install" writes them to ConfigMap hlf-msp`)
		}
		if all[o.Name], err = pki.ParsePublic(data); err != nil {
			return nil, nil, err
		}
		raw[o.PublicKey()] = data
	}
	return all, raw, nil
}

// inCluster reaches the API server as the pod's service account.
func inCluster() (kubernetes.Interface, dynamic.Interface, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, nil, err
	}
	config.WarningHandler = rest.NoWarnings{} // they are for who writes the values, and would hide what the log tells
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	return client, objects, err
}

// answer tells the caller what it asked for.
func (p Process) answer(v any) error { return keeper.WriteAnswer(p.Stdout, v) }

// progress logs how far a copy has got, every two seconds at most.
func (p Process) progress() func(volume.Progress) {
	log := p.log()
	var what string
	var began, last time.Time
	var before int64
	return func(at volume.Progress) {
		now := time.Now()
		if subject := at.Node + "/" + at.Volume; subject != what {
			what, began, last, before = subject, now, now, at.Bytes
		}
		done := at.Bytes >= at.Total
		if now.Sub(last) < progressEvery && !done {
			return
		}
		since, bytes := now.Sub(last), at.Bytes-before
		if done { // the rate of the whole
			since, bytes = now.Sub(began), at.Bytes
		}
		rate := int64(float64(bytes) / max(since.Seconds(), 0.001))
		log.Info("progress", "verb", at.Verb, "node", at.Node, "volume", at.Volume, "bytes", at.Bytes, "total", at.Total, "rate", rate)
		last, before = now, at.Bytes
	}
}

const progressEvery = 2 * time.Second
