package pod

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/launcher"
	"pivt.io/pivt/pkg/transfer"
)

func newLauncher(p Process) *cobra.Command {
	c := &cobra.Command{
		Use:    "launcher",
		Short:  "Chaincode launcher that peers call",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newInstall(), newWait(), newFetch(p), newReturn(p))
	return c
}

func newInstall() *cobra.Command {
	return &cobra.Command{
		Use:     "install DIR",
		Short:   "Copy this program to DIR/bin under the names of the external builder contract",
		Example: "  pivt launcher install /opt/pivt",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return launcher.Install(args[0]) },
	}
}

func newWait() *cobra.Command {
	c := &cobra.Command{
		Use:     "wait ADDRESS",
		Short:   "Wait until a chaincode pod can reach its peer",
		Example: "  pivt launcher wait hlf-peer--org1--peer0:7052",
		Args:    cobra.ExactArgs(1),
	}
	timeout := c.Flags().Duration("timeout", time.Minute, "how long")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeout(c.Context(), *timeout)
		defer cancel()
		return launcher.Wait(ctx, args[0])
	}
	return c
}

func newFetch(p Process) *cobra.Command {
	c := &cobra.Command{
		Use:   "fetch --ticket FILE --to DIR",
		Short: "Fetch what a pod builds or runs from the peer that made the pod",
		Long: `Fetch what a pod builds or runs from the peer that made the pod. It is tried again until the
peer can be reached: network policies reach a new pod late.

Exit status: 0 all of it is in DIR; 1 it was refused; 4 the time is over.`,
		Example: "  pivt launcher fetch --ticket /run/pivt/ticket/ticket.json --to /chaincode/input",
		Args:    cobra.NoArgs,
	}
	var t transferFlags
	t.addFlags(c)
	to := c.Flags().String("to", "", "directory to fetch into")
	ready := c.Flags().String("ready", "", "file to make when all has been fetched")
	stay := c.Flags().Bool("stay", false, "end only when told to; a pod with an ended container counts as not ready")
	mustHave(c, "ticket", "to")
	c.RunE = func(c *cobra.Command, _ []string) error {
		err := t.run(c.Context(), p, "fetching to "+*to, func(ctx context.Context, ticket transfer.Ticket, l transfer.Limits) error {
			if err := transfer.Fetch(ctx, ticket, *to, l); err != nil || *ready == "" {
				return err
			}
			return os.WriteFile(*ready, nil, 0o644)
		})
		if err == nil && *stay {
			debug.FreeOSMemory() // there may be many of these, for as long as their chaincodes run
			<-c.Context().Done()
		}
		return err
	}
	return c
}

func newReturn(p Process) *cobra.Command {
	c := &cobra.Command{
		Use:   "return --ticket FILE --from DIR",
		Short: "Return what a pod has built to the peer that made the pod",
		Long: `Return what a pod has built to the peer that made the pod. It is tried again until the peer
can be reached.

Exit status: 0 the peer has taken it; 1 the peer refused it; 4 the time is over.`,
		Example: "  pivt launcher return --ticket /run/pivt/ticket/ticket.json --from /chaincode/output",
		Args:    cobra.NoArgs,
	}
	var t transferFlags
	t.addFlags(c)
	from := c.Flags().String("from", "", "directory to return")
	mustHave(c, "ticket", "from")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return t.run(c.Context(), p, "returning "+*from, func(ctx context.Context, ticket transfer.Ticket, l transfer.Limits) error {
			return transfer.Return(ctx, ticket, *from, l)
		})
	}
	return c
}

// transferFlags are those of both directions.
type transferFlags struct {
	ticket  string
	timeout time.Duration
}

func (t *transferFlags) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&t.ticket, "ticket", "", "file that says where the peer is and how to know it")
	c.Flags().DurationVar(&t.timeout, "timeout", 5*time.Minute, "how long to try")
}

func mustHave(c *cobra.Command, flags ...string) {
	for _, f := range flags {
		if err := c.MarkFlagRequired(f); err != nil {
			panic("unreachable: " + err.Error())
		}
	}
}

// run moves a tree, tells of it on standard error, and leaves an error where the kubelet
// takes the reason of an exit from.
func (t *transferFlags) run(ctx context.Context, p Process, what string, move func(context.Context, transfer.Ticket, transfer.Limits) error) error {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	begun := time.Now()
	ticket, err := readTicket(t.ticket)
	if err == nil {
		fmt.Fprintf(p.Stderr, "%s: asking %s\n", what, ticket.URL)
		// What comes from our peer is as large as it is, and of what goes there the peer
		// itself says how much it takes.
		err = move(ctx, ticket, transfer.Limits{Bytes: math.MaxInt64, Entries: math.MaxInt})
	}
	if err != nil {
		if ctx.Err() != nil {
			err = exit.With(err, exit.TimedOut)
		}
		writeTermination(p.Termination, err)
		return err
	}
	fmt.Fprintf(p.Stderr, "%s: done in %s\n", what, time.Since(begun).Round(time.Millisecond))
	return nil
}

func readTicket(path string) (transfer.Ticket, error) {
	var t transfer.Ticket
	f, err := os.Open(path)
	if err != nil {
		return t, fmt.Errorf("reading the ticket: %w", err)
	}
	defer f.Close()
	const enough = 64 << 10
	if err := json.NewDecoder(io.LimitReader(f, enough)).Decode(&t); err != nil {
		// Without the text around: it holds the token.
		return t, fmt.Errorf("ticket %s does not parse", filepath.Base(path))
	}
	if t.URL == "" || t.Pin == "" || t.Token == "" {
		return t, fmt.Errorf("ticket %s has not all of url, pin and token", filepath.Base(path))
	}
	return t, nil
}
