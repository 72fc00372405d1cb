package pod

import (
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/step"
)

func newStep(p Process) *cobra.Command {
	var params step.Params
	c := &cobra.Command{
		Use:    "step VERB",
		Short:  "One task of a workflow: look, do what is missing, look again",
		Hidden: true,
		Long: `One task of a workflow. It looks at the live network first, does what is missing for its subject,
and looks again, so it may be repeated at any time.

Verbs: ` + strings.Join(step.Verbs(), ", ") + `.

Exit status: 0 done or nothing to do; 1 will not succeed; 2 wrong usage or files; 75 try again later.`,
		Example: `  pivt step join --channel mychannel --org Org1
  pivt step commit --chaincode basic --dry-run`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			log := slog.New(slog.NewJSONHandler(p.Stderr, nil))
			result, err := step.Run(c.Context(), args[0], params, step.Env{Root: p.Root, Log: log, Package: newPackages(p.Env).get})
			if err != nil {
				log.Error("step failed", "error", err.Error(), "again", exit.IsTransient(err))
				writeTermination(p.Termination, err)
				return err
			}
			log.Info("step done", "changes", len(result.Changed))
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&params.Channel, "channel", "", "channel the task is about")
	f.StringVar(&params.Org, "org", "", "organisation whose admin acts")
	f.StringVar(&params.Chaincode, "chaincode", "", "chaincode the task is about")
	f.StringVar(&params.Flow, "flow", "", "flow that is probed: channel or chaincode")
	f.DurationVar(&params.Wait, "wait", step.DefaultWait, "how long to wait for nodes before asking to be called again")
	f.BoolVar(&params.DryRun, "dry-run", false, "stop after deciding")
	return c
}

// writeTermination leaves the reason where Argo and kubectl show it. It must not hide
// the step's own error, so a failure to write is dropped.
func writeTermination(file string, err error) {
	if file == "" {
		return
	}
	_ = os.WriteFile(file, []byte(exit.Termination(err)), 0o600)
}
