package smoke

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Namespace is where everything happens.
const Namespace = "pivt-smoke"

// Options say which cluster to ask.
type Options struct {
	Kubectl    string // path of the program
	Kubeconfig string
	// Image is a busybox that is already on the node, best by digest: that proves digests resolve without a registry.
	Image string
	// NetworkPolicies says that something enforces them.
	NetworkPolicies bool
	// Report hears about every check as it ends.
	Report func(title string, took time.Duration, err error)
}

// Run makes the namespace, runs every check, and removes the namespace again whatever happened.
func Run(ctx context.Context, o Options) error {
	s := &session{kubectl: kubectl{program: o.Kubectl, kubeconfig: o.Kubeconfig}, options: o}
	checks := []check{
		{"namespace that enforces restricted", s.namespace},
		{"pod refused that is not restricted", s.refused},
		{"claim bound and pods ready", s.workloads},
		{"DNS name and Service answer", s.service},
		{"kubectl logs", s.logs},
		{"kubectl port-forward", s.portForward},
		{"workflow of one step", s.workflow},
	}
	if o.NetworkPolicies {
		checks = append(checks, check{"network policy denies and allows", s.networkPolicy})
	}
	err := s.clean(ctx) // what a killed run left
	for _, c := range checks {
		if err != nil {
			break
		}
		began := time.Now()
		if err = c.run(ctx); err != nil {
			err = fmt.Errorf("%s: %w", c.title, err)
		}
		o.Report(c.title, time.Since(began), err)
	}
	// A cancelled run still tidies up.
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	return errors.Join(err, s.clean(cleanup))
}

type check struct {
	title string
	run   func(context.Context) error
}

type session struct {
	kubectl
	options Options
	// server is the address of the Service, once it is known.
	server string
}

func (s *session) clean(ctx context.Context) error {
	_, err := s.run(ctx, "", "delete", "namespace", Namespace, "--ignore-not-found", "--wait=true", "--timeout=90s")
	return err
}
