package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/deploy"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/keeper"
	"pivt.io/pivt/pkg/kube"
)

func newBackup(s *State, g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "backup",
		Short: "Save the network, verify and keep backups",
		Long: `Save the network into an encrypted repository, prove that a backup is whole, and keep as many as wanted.

Where backups go is said under "backup" in network.yaml; the repository's password and the storage's
credentials are keys of the Secret hlf-backup in the network's namespace and nowhere else.`,
		Example: `  # network.yaml
  backup:
    target: {type: s3, s3: {endpoint: s3.example.com, bucket: fabric-backups}}
    keep: {daily: 7, weekly: 4}
    schedule: "0 3 * * *"`,
		Args: knownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newBackupCreate(s, g), newBackupList(s, g), newBackupShow(s, g), newBackupVerify(s, g),
		newBackupDelete(s, g), newBackupPrune(s, g), newBackupSchedule(s, g))
	return c
}

// backupTimeout is long: the ledgers of years take hours, and the workflow has its own limits.
const backupTimeout = 24 * time.Hour

// backupFlags are those of commands that run the backup flow.
type backupFlags struct {
	flowOptions
}

func (o *backupFlags) addFlags(f *pflag.FlagSet) {
	f.DurationVar(&o.timeout, "timeout", backupTimeout, "how long to wait for the whole")
	f.BoolVar(&o.stop, "stop-workflows", false, "when interrupted, stop the workflow that is under way")
}

// backups is what commands about backups work on: the network, and its repository as seen from
// inside the namespace.
type backups struct {
	s        *State
	g        *globals
	in       *inputs
	d        *deploy.Deployment
	settings backup.Settings
}

// mayBeNew is for commands that make the first backup of a repository, and so the repository.
const (
	mayBeNew = true
	isThere  = false
)

// backups loads the files and refuses, before anything is begun, what cannot work.
func (g *globals) backups(ctx context.Context, s *State, fresh bool) (*backups, error) {
	in, err := g.load(s)
	if err != nil {
		return nil, err
	}
	d, err := g.deploymentOf(s, in)
	if err != nil {
		return nil, err
	}
	settings, err := d.BackupSettings()
	if err != nil {
		return nil, err
	}
	if err := d.CheckCredentials(ctx, settings, fresh); err != nil {
		return nil, err
	}
	return &backups{s: s, g: g, in: in, d: d, settings: settings}, nil
}

// ask has a pod in the namespace look into the repository, which only pods can reach, and
// decodes its answer.
func (b *backups) ask(ctx context.Context, title string, answer any, args ...string) error {
	step := b.d.Report.Start(title)
	step.Update("a pod in namespace " + b.d.Kube.Namespace() + " asks the repository")
	ask := b.s.Ask
	if ask == nil {
		ask = askRepository
	}
	out, err := ask(ctx, b.d.Kube, b.settings, args)
	if err == nil && answer != nil {
		if err = json.Unmarshal(out, answer); err != nil {
			err = fmt.Errorf("pivt-backup %s: its answer is no JSON: %w", strings.Join(args, " "), err)
		}
	}
	if err != nil {
		step.Fail(err)
		return err
	}
	step.Done("")
	return nil
}

// askRepository is the State's Ask outside tests. A namespace that a restore is about to fill has no
// account for backups yet, and the pod that answers needs none.
func askRepository(ctx context.Context, k *kube.Client, s backup.Settings, args []string) ([]byte, error) {
	_, err := k.Core().CoreV1().ServiceAccounts(k.Namespace()).Get(ctx, s.Pod.ServiceAccountName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		s.Pod.ServiceAccountName = ""
	}
	return keeper.Ask(ctx, k.Core(), k.Namespace(), s, args)
}

// list gives all backups, newest first, interrupted attempts too.
func (b *backups) list(ctx context.Context) ([]backup.Summary, error) {
	var list []backup.Summary
	return list, b.ask(ctx, "list of backups", &list, "list")
}

// shown is a backup as the repository knows it.
type shown struct {
	*backup.Manifest
	Verified *time.Time `json:"verified,omitempty"`
}

// summary is its line in a list.
func (b shown) summary() backup.Summary {
	return backup.Summary{Key: b.Key, Started: b.Started, Finished: b.Finished, Nodes: len(b.Nodes), Bytes: b.Bytes(), Uploaded: b.Uploaded(), Verified: b.Verified, Complete: true}
}

func (b *backups) show(ctx context.Context, key string) (shown, error) {
	if err := backup.CheckKey(key); err != nil {
		return shown{}, usageError(err)
	}
	var answer backup.Shown
	if err := b.ask(ctx, "backup "+key, &answer, "show", key); err != nil {
		return shown{}, err
	}
	if answer.Manifest == nil {
		return shown{}, fmt.Errorf("backup %s: the repository did not answer with its manifest", key)
	}
	return shown{answer.Manifest, answer.Verified}, nil
}

// files are the input files as they were written, by their names without directories, and what
// flags add to them.
func (b *backups) files() map[string]string {
	files := map[string]string{}
	for i, source := range b.in.sources {
		name := flat.ReplaceAllString(filepath.Base(source.Name), "_")
		if source.Name == standardInput {
			name = "stdin.yaml"
		}
		if _, taken := files[name]; taken {
			name = fmt.Sprintf("%d-%s", i+1, name)
		}
		files[name] = string(source.Data)
	}
	for name, text := range b.in.beside {
		if name = flat.ReplaceAllString(name, "_"); files[name] == "" {
			files[name] = text
		}
	}
	if len(b.g.set) > 0 {
		files["set.txt"] = strings.Join(b.g.set, "\n") + "\n"
	}
	return files
}

// flat makes a name without directories of a path.
var flat = regexp.MustCompile(`[^A-Za-z0-9._-]|^[.-]+`)

// run runs the flow, and turns its failure into what a person should know and do.
func (b *backups) run(ctx context.Context, c *cobra.Command, o backupFlags, r deploy.BackupRun) (deploy.BackupOutcome, error) {
	ctx, cancel := withTimeout(ctx, o.timeout)
	defer cancel()
	b.d.StopWorkflows = o.stop
	out, err := b.d.RunBackup(ctx, r)
	if err != nil {
		err = b.explain(ctx, c, o, r, out, err)
	}
	return out, err
}

// explain adds to a failure in which state the nodes are, and how to go on.
func (b *backups) explain(ctx context.Context, c *cobra.Command, o backupFlags, r deploy.BackupRun, out deploy.BackupOutcome, err error) error {
	ns := b.d.Kube.Namespace()
	if exit.CodeOf(err) == exit.Interrupted && out.Workflow == "" {
		return exit.WithHint(exit.With(errors.New("interrupted before it was known whether the workflow was submitted"), exit.Interrupted),
			fmt.Sprintf("this finds one that is under way: %s; or look: kubectl -n %s get workflows -l pivt.io/flow=backup", goOn(c, r), ns))
	}
	if exit.CodeOf(err) == exit.Interrupted {
		stop := fmt.Sprintf("argo -n %s stop %s", ns, out.Workflow)
		if o.stop {
			return exit.WithHint(exit.With(fmt.Errorf("interrupted; workflow %s has been stopped%s", out.Workflow, startedAgain(r)), exit.Interrupted), "go on where it was: "+goOn(c, r))
		}
		return exit.WithHint(exit.With(fmt.Errorf("interrupted; workflow %s goes on", out.Workflow), exit.Interrupted),
			fmt.Sprintf("follow it again: %s; or stop it: %s%s", goOn(c, r), stop, startedAgain(r)))
	}
	if errors.Is(err, context.DeadlineExceeded) && out.Workflow != "" {
		return exit.WithHint(exit.With(errors.New(err.Error()), exit.TimedOut), // whose own hint knows of no key
			fmt.Sprintf("the workflow goes on; follow it again: %s; or see it with: kubectl -n %s get workflow %s", goOn(c, r), ns, out.Workflow))
	}
	if exit.CodeOf(err) == exit.Invalid || out.Workflow == "" {
		return err // nothing was begun
	}
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	held, herr := keeper.Held(looking, b.d.Kube.Core(), ns)
	if herr != nil {
		return err
	}
	if len(held) > 0 {
		return hinted(err, "", keeper.Cures(held))
	}
	if r.Action == deploy.BackupCreate && !out.Sealed {
		return hinted(err, "; every node has been started again", "go on where it was: "+goOn(c, r))
	}
	return err
}

// hinted adds to an error's text and to its hint, which to exit.WithHint would be the last word.
func hinted(err error, text, hint string) error {
	if inner := exit.HintOf(err); inner != "" {
		hint = inner + "; " + hint
	}
	return exit.WithHint(exit.With(errors.New(err.Error()+text), exit.CodeOf(err)), hint)
}

func startedAgain(r deploy.BackupRun) string {
	if r.Action == deploy.BackupCreate {
		return "; nodes that it has stopped are started again within a minute"
	}
	return ""
}

// find gives one complete backup of a list.
func find(list []backup.Summary, key string) (backup.Summary, error) {
	for _, b := range list {
		if b.Key != key {
			continue
		}
		if !b.Complete {
			return b, exit.With(fmt.Errorf("backup %s is an interrupted attempt: it has no manifest", key), exit.Failed)
		}
		return b, nil
	}
	return backup.Summary{}, exit.WithHint(exit.With(fmt.Errorf("there is no backup %s", key), exit.Failed), `"pivt backup list" shows the keys`)
}

// invalidf is an error of the files or of what was asked for, with its cure; it shows no usage.
func invalidf(hint, format string, args ...any) error {
	return exit.WithHint(exit.With(fmt.Errorf(format, args...), exit.Invalid), hint)
}
