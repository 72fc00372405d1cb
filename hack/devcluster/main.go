// Command devcluster runs a one-node Kubernetes with Argo Workflows for tests and the demo; README.md tells more.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pivt.io/pivt/hack/devcluster/cluster"
	"pivt.io/pivt/hack/devcluster/ledger"
	"pivt.io/pivt/hack/devcluster/smoke"
)

const usage = `usage: go run . COMMAND      (in hack/devcluster)

  up [--project DIR [--builders]]      build what is missing, start, wait until everything is ready; with the images of a
                                       checkout of pivt, and with those that chaincode is built from source in
  down                   remove every trace
  status                 list the components; exit 3 when not all is well
  images [--project DIR [--builders]]  assemble and import changed images, and print their digests
  env                    print exports of KUBECONFIG and PATH
  kubeconfig             print the administrator's kubeconfig
  smoke                  prove that the cluster works
`

func main() {
	if len(os.Args) > 1 && os.Args[1] == ledger.ExecVerb {
		fmt.Fprintln(os.Stderr, "Error:", ledger.Exec(os.Args[2:]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", strings.ReplaceAll(err.Error(), "\n", "\nError: "))
	}
	os.Exit(code(err))
}

var errUsage = errors.New("bad usage")

// code is what the whole project uses: 2 bad usage, 3 not in the wanted state, 1 anything else.
func code(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	case errors.Is(err, cluster.ErrNotUp):
		return 3
	case errors.Is(err, context.Canceled):
		return 130
	}
	return 1
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: no command\n%s", errUsage, usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var project cluster.Project
	if args[0] == "images" || args[0] == "up" {
		flags.StringVar(&project.Dir, "project", "", "")
		flags.BoolVar(&project.Builders, "builders", false, "")
	}
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 0 || project.Builders && project.Dir == "" {
		return fmt.Errorf("%w: %s\n%s", errUsage, strings.Join(args, " "), usage)
	}
	root, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("finding the current directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, "parts")); err != nil {
		return fmt.Errorf("%w: there is no parts/ here; run it in hack/devcluster", errUsage)
	}
	layout, err := cluster.DefaultLayout(root)
	if err != nil {
		return err
	}
	// kubectl must not ask a proxy for an address that only this machine has.
	direct := withoutProxy(os.Getenv("NO_PROXY"), cluster.NodeIP)
	if err := errors.Join(os.Setenv("NO_PROXY", direct), os.Setenv("no_proxy", direct)); err != nil {
		return err
	}
	c := &cluster.Cluster{Layout: layout, Out: out}
	switch args[0] {
	case "up":
		return c.Up(ctx, project)
	case "down":
		return c.Down(ctx)
	case "status":
		return c.Status(ctx)
	case "images":
		return c.Images(ctx, project)
	case "env":
		fmt.Fprintf(out, "export KUBECONFIG=%s\nexport PATH=%s:\"$PATH\"\n", quote(layout.Kubeconfig()), quote(layout.Bin()))
		if proxied(os.Getenv) {
			fmt.Fprintf(out, "export NO_PROXY=%s no_proxy=%[1]s\n", quote(os.Getenv("NO_PROXY")))
		}
		return nil
	case "kubeconfig":
		text, err := os.ReadFile(layout.Kubeconfig())
		if err != nil {
			return fmt.Errorf("%w: %w", cluster.ErrNotUp, err)
		}
		_, err = out.Write(text)
		return err
	case "smoke":
		return runSmoke(ctx, c, out)
	}
	return fmt.Errorf("%w: unknown command %q\n%s", errUsage, args[0], usage)
}

func proxied(getenv func(string) string) bool {
	return getenv("HTTPS_PROXY") != "" || getenv("https_proxy") != ""
}

// withoutProxy adds an address to a list of those that are reached directly.
func withoutProxy(list, address string) string {
	if list == "" || slices.Contains(strings.Split(list, ","), address) {
		return cmp.Or(list, address)
	}
	return list + "," + address
}

// quote makes a word of a shell out of a path.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func runSmoke(ctx context.Context, c *cluster.Cluster, out io.Writer) error {
	busybox, err := c.Busybox()
	if err != nil {
		return err
	}
	return smoke.Run(ctx, smoke.Options{
		Kubectl:         filepath.Join(c.Bin(), "kubectl"),
		Kubeconfig:      c.Kubeconfig(),
		Image:           busybox.ByDigest(),
		NetworkPolicies: true,
		Report: func(title string, took time.Duration, err error) {
			verdict := "ok"
			if err != nil {
				verdict = "failed"
			}
			fmt.Fprintf(out, "%6.1fs  %-6s %s\n", took.Seconds(), verdict, title)
		},
	})
}
