package backuppod

import (
	"github.com/spf13/cobra"
)

func newGuard(p Process) *cobra.Command {
	c := &cobra.Command{
		Use:     "guard --key KEY",
		Short:   "Start what a backup has stopped, should the backup not do it",
		Example: "  pivt-backup guard --key 20261121-031500",
		Args:    cobra.NoArgs,
	}
	key := c.Flags().String("key", "", "the backup")
	_ = c.MarkFlagRequired("key")
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := p.settings()
		if err != nil {
			return err
		}
		k, err := p.starter(s, p.log().With("key", *key))
		if err != nil {
			return err
		}
		return k.Guard(c.Context(), *key)
	}
	return c
}
