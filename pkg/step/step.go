package step

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// DefaultRoot is where a step's pod mounts what it reads.
const DefaultRoot = "/run/pivt"

// DefaultWait is how long a step waits for nodes and other steps before it exits with 75.
const DefaultWait = 90 * time.Second

// Params say which part of the network a step is about. Each verb takes some of them.
type Params struct {
	Channel   string
	Org       string
	Chaincode string
	Flow      string // probe: channel or chaincode
	// Wait is how long to wait for what is not there yet; 0 means to try once.
	Wait time.Duration
	// DryRun stops after deciding; the result says what would have been done.
	DryRun bool
}

// Env is what a step has around it.
type Env struct {
	Root string // default DefaultRoot
	Log  *slog.Logger
	Now  func() time.Time
	// Dial connects to a node by its address in the cluster. Default is TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Poll is the pause between two looks; default 500 ms.
	Poll time.Duration
	// Package is the package of a chaincode for an organisation's peers. Default is
	// chaincode.Package, which has none for chaincodes whose source or package lies elsewhere.
	Package func(ctx context.Context, cc *network.Chaincode, o *network.Org) ([]byte, error)
}

func (e Env) withDefaults() Env {
	if e.Root == "" {
		e.Root = DefaultRoot
	}
	if e.Log == nil {
		e.Log = slog.New(slog.DiscardHandler)
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.Poll <= 0 {
		e.Poll = 500 * time.Millisecond
	}
	if e.Package == nil {
		e.Package = func(_ context.Context, cc *network.Chaincode, o *network.Org) ([]byte, error) {
			return chaincode.Package(cc, o)
		}
	}
	return e
}

// Result is what a step has to tell. It is written to Root/out as well: Todo to the file
// todo by a probe, Changed to the file result by the other verbs.
type Result struct {
	// Changed has a sentence for everything that was done, or in a dry run would be.
	Changed []string
	// Verified has a sentence for everything that was proven without changing anything.
	Verified []string
	// Todo names the workflow tasks that a probe found necessary.
	Todo []string
}

// Verbs lists the steps there are.
func Verbs() []string { return []string{"probe", "create", "join", "install", "commit", "smoke"} }

// Run runs one step. The result is valid, and written down, also if there is an error.
func Run(ctx context.Context, verb string, p Params, env Env) (Result, error) {
	env = env.withDefaults()
	run, err := verbOf(verb)
	if err != nil {
		return Result{}, err
	}
	s, err := newSession(verb, p, env)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	err = run(s, ctx)
	if written := s.write(verb); err == nil {
		err = written
	}
	return s.result, err
}

func verbOf(verb string) (func(*session, context.Context) error, error) {
	switch verb {
	case "probe":
		return (*session).probe, nil
	case "create":
		return (*session).create, nil
	case "join":
		return (*session).join, nil
	case "install":
		return (*session).install, nil
	case "commit":
		return (*session).commit, nil
	case "smoke":
		return (*session).smoke, nil
	}
	return nil, exit.With(fmt.Errorf("step %q does not exist; steps are %s", verb, strings.Join(Verbs(), ", ")), exit.Invalid)
}
