package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/deploy"
)

type scheduleOptions struct {
	remove, suspend bool
}

func newBackupSchedule(s *State, g *globals) *cobra.Command {
	var o scheduleOptions
	c := &cobra.Command{
		Use:   "schedule",
		Short: "Make backups at the times that the files say",
		Long: `Make the CronWorkflow hlf-backup what backup.schedule in the files says. Each of its backups is verified, unless
backup.verify.enabled is false, and followed by a prune if backup.keep has a number, as after "pivt backup create".

Every backup has the data of the moment at which it is made. Where it goes, which nodes it is of and the input
files that are saved with it are as the files were when this command ran: repeat it after every change of them.

Exit status: 0 done or nothing to do; 1 failed; 2 wrong usage or files; 3 the cluster lacks Argo Workflows.`,
		Example: `  # network.yaml: backup: {schedule: "0 3 * * *", timezone: Europe/Istanbul}
  pivt backup schedule

  # not for now, and go on
  pivt backup schedule --suspend
  pivt backup schedule

  # no longer; backups that are there stay
  pivt backup schedule --remove`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c, s, g) },
	}
	c.Flags().BoolVar(&o.remove, "remove", false, "remove the schedule")
	c.Flags().BoolVar(&o.suspend, "suspend", false, "keep the schedule, but make no backups until it is set again")
	return c
}

func (o *scheduleOptions) run(c *cobra.Command, s *State, g *globals) error {
	if o.remove && o.suspend {
		return usageErrorf("--remove and --suspend exclude each other")
	}
	ctx := c.Context()
	if o.remove {
		d, err := g.deployment(s)
		if err != nil {
			return err
		}
		change, err := d.Unschedule(ctx)
		if err != nil {
			return err
		}
		return g.changes(s.Stdout, []deploy.Change{change})
	}
	b, err := g.backups(ctx, s, mayBeNew)
	if err != nil {
		return err
	}
	change, err := b.d.Schedule(ctx, b.files(), o.suspend)
	if err != nil {
		return err
	}
	if err := g.changes(s.Stdout, []deploy.Change{change}); err != nil {
		return err
	}
	if o.suspend && !g.quiet && g.output != outputJSON {
		fmt.Fprintln(s.Stderr, `suspended; "pivt backup schedule" goes on`)
	}
	return nil
}
