package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"pivt.io/pivt/pkg/exit"
)

// FieldManager owns what pivt applies.
const FieldManager = "pivt"

// Options choose cluster and namespace, as kubectl's flags of the same names do.
type Options struct {
	// Kubeconfig is a file; empty means $KUBECONFIG, then ~/.kube/config, then the
	// service account of the pod we run in.
	Kubeconfig string
	// Context is a context of the kubeconfig; empty means its current one.
	Context string
	// Namespace overrides the context's namespace.
	Namespace string
	// UserAgent names the program to the API server's audit log; default "pivt".
	UserAgent string
	// Warn receives the API server's warnings (deprecations, Pod Security). They are
	// dropped when nil.
	Warn func(message string)
}

// Client talks to one cluster, in one namespace unless said otherwise. It is what Helm
// calls a RESTClientGetter, too.
type Client struct {
	loader    clientcmd.ClientConfig
	config    *rest.Config
	namespace string
	context   string
	core      kubernetes.Interface
	dynamic   dynamic.Interface
	discovery discovery.CachedDiscoveryInterface
	mapper    meta.RESTMapper
}

// New reads the kubeconfig. It does not call the cluster.
func New(o Options) (*Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{
		CurrentContext: o.Context,
		Context:        api.Context{Namespace: o.Namespace},
	})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, configError(err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, configError(err)
	}
	name := o.Context
	if raw, err := loader.RawConfig(); err == nil && name == "" {
		name = raw.CurrentContext
	}

	config.UserAgent = o.UserAgent
	if config.UserAgent == "" {
		config.UserAgent = FieldManager
	}
	config.WarningHandlerWithContext = warnings(o.Warn)
	core, err := kubernetes.NewForConfig(paced(config))
	if err != nil {
		return nil, configError(err)
	}
	dyn, err := dynamic.NewForConfig(paced(config))
	if err != nil {
		return nil, configError(err)
	}
	cached := memory.NewMemCacheClient(core.Discovery())
	return &Client{
		loader:    loader,
		config:    config,
		namespace: namespace,
		context:   name,
		core:      core,
		dynamic:   dyn,
		discovery: cached,
		mapper:    restmapper.NewDeferredDiscoveryRESTMapper(cached),
	}, nil
}

// Namespace is the namespace that objects without one go to.
func (c *Client) Namespace() string { return c.namespace }

// Context is the name of the kubeconfig's context, "" inside a pod.
func (c *Client) Context() string { return c.context }

// Server is the URL of the API server.
func (c *Client) Server() string { return c.config.Host }

// Core is the typed client of Kubernetes' own kinds.
func (c *Client) Core() kubernetes.Interface { return c.core }

// Dynamic is the client of any kind.
func (c *Client) Dynamic() dynamic.Interface { return c.dynamic }

// ToRESTConfig, with the three methods after it, lets Helm use this client.
func (c *Client) ToRESTConfig() (*rest.Config, error) { return paced(c.config), nil }

// ToDiscoveryClient returns a discovery client that remembers answers.
func (c *Client) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return c.discovery, nil
}

// ToRESTMapper returns the mapper from kinds to resources.
func (c *Client) ToRESTMapper() (meta.RESTMapper, error) { return c.mapper, nil }

// ToRawKubeConfigLoader returns the kubeconfig with the options applied.
func (c *Client) ToRawKubeConfigLoader() clientcmd.ClientConfig { return c.loader }

func configError(err error) error {
	empty := clientcmd.IsEmptyConfig(err) // which looks at no wrapped error
	err = exit.With(fmt.Errorf("reading the kubeconfig: %w", err), exit.Invalid)
	if empty {
		return exit.WithHint(exit.With(errors.New("the kubeconfig names no cluster"), exit.Invalid), `no cluster is configured; give --kubeconfig FILE, or make one: "make cluster-up" or "kind create cluster"`)
	}
	return exit.WithHint(err, `"kubectl config get-contexts" lists the contexts; choose one with --context and --kubeconfig`)
}

// warnings hands every distinct warning on once: applying fifty Secrets repeats them.
func warnings(warn func(string)) rest.WarningHandlerWithContext {
	if warn == nil {
		return rest.NoWarnings{}
	}
	return &warningHandler{warn: warn, seen: map[string]bool{}}
}

type warningHandler struct {
	warn func(string)
	mu   sync.Mutex
	seen map[string]bool
}

func (h *warningHandler) HandleWarningHeaderWithContext(_ context.Context, code int, _ string, message string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if code != 299 || message == "" || h.seen[message] { // 299 is the only code RFC 9111 leaves for this
		return
	}
	h.seen[message] = true
	h.warn(message)
}
