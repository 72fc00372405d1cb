package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"pivt.io/pivt/hack/devcluster/recipe"
)

// Limits for things that take seconds; a slow machine under load may need many.
const (
	startLimit = 2 * time.Minute
	podLimit   = 3 * time.Minute
)

// Project is a checkout of pivt whose images are wanted beside the cluster's own.
type Project struct {
	Dir string // "" is none
	// Builders asks for the images that chaincode is built from source in, too.
	Builders bool
}

// Up makes the cluster run. What a killed run left is removed first; a healthy cluster is left alone. Then the images of
// the project are built and imported.
func (c *Cluster) Up(ctx context.Context, project Project) error {
	began := time.Now()
	if err := checkMachine(); err != nil {
		return err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.installMissing(ctx, project.tools()); err != nil {
		return err
	}
	parts, err := c.parts(ctx)
	if err != nil {
		return err
	}
	if err := c.link(parts); err != nil {
		return err
	}
	if err := c.ensureRunning(ctx, parts, began); err != nil {
		return err
	}
	if project.Dir == "" {
		return nil
	}
	specs, broken := c.projectImages(ctx, project)
	return errors.Join(broken, c.provide(ctx, project.Dir, specs))
}

func (c *Cluster) ensureRunning(ctx context.Context, parts map[string]recipe.Built, began time.Time) error {
	if c.claimed() {
		problem := c.whole()
		if problem == nil {
			// It may hold somebody's network, and a machine under load answers late: never remove what still runs.
			if err := c.healthy(ctx, podLimit); err != nil {
				return fmt.Errorf("all components run, but %w; look into %s, or run down to start anew", err, c.state("log"))
			}
			c.say("the cluster is up already; kubeconfig: %s", c.Kubeconfig())
			return nil
		}
		c.say("what is left of an earlier cluster is removed first (%v)", problem)
		if err := c.remove(ctx); err != nil {
			return err
		}
	}
	if err := c.prepare(parts); err != nil {
		return err
	}
	if err := c.start(ctx, parts); err != nil {
		return fmt.Errorf("%w; the logs are in %s", err, c.state("log"))
	}
	if err := os.WriteFile(c.completeFile(), nil, 0o644); err != nil {
		return fmt.Errorf("noting that the cluster is complete: %w", err)
	}
	c.say("the cluster is up after %.1fs; kubeconfig: %s", time.Since(began).Seconds(), c.Kubeconfig())
	return nil
}

// parts returns every part, built if need be.
func (c *Cluster) parts(ctx context.Context) (map[string]recipe.Built, error) {
	b, err := c.builder(ctx)
	if err != nil {
		return nil, err
	}
	return b.All(ctx, recipe.Default())
}

// prepare makes everything that must be there before the first process: addresses, control groups, certificates, configurations.
func (c *Cluster) prepare(parts map[string]recipe.Built) error {
	if err := checkNetwork(); err != nil {
		return err
	}
	if err := c.claim(); err != nil {
		return err
	}
	if err := c.takeBaseline(); err != nil {
		// Nothing has been changed yet: the next up must not take this for a cluster.
		return errors.Join(err, os.RemoveAll(c.State))
	}
	if err := prepareNetwork(); err != nil {
		return err
	}
	if err := checkPorts(); err != nil {
		return err
	}
	plugins, err := cniBin()
	if err != nil {
		return err
	}
	for _, dir := range []string{"conf", "log", "run", "volumes"} {
		if err := os.MkdirAll(c.state(dir), 0o755); err != nil {
			return fmt.Errorf("making a directory: %w", err)
		}
	}
	if err := c.writePKI(time.Now()); err != nil {
		return err
	}
	for file, text := range map[string]string{
		c.conf("containerd.toml"):                  c.containerdConfig(plugins),
		c.conf("kubelet.yaml"):                     c.kubeletConfig(),
		c.conf("kube-proxy.yaml"):                  c.proxyConfig(),
		c.state("cni", "conf", "10-pivt.conflist"): c.cniConfig(),
	} {
		if err := writePrivate(file, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// start starts the components and waits until pods run. Images are imported while the API server starts.
func (c *Cluster) start(ctx context.Context, parts map[string]recipe.Built) error {
	procs, err := prepareCgroups()
	if err != nil {
		return err
	}
	commands, err := c.commands(parts)
	if err != nil {
		return err
	}
	run := func(names ...string) error {
		for _, name := range names {
			command := commands[name]
			command.CgroupProcs = procs
			if _, err := c.ledger().Start(command); err != nil {
				return err
			}
		}
		return nil
	}
	if err := run(etcdName, containerdName, apiserverName); err != nil {
		return err
	}
	images := make(chan struct{}) // closed when the platform's are there
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.importAll(ctx, parts, images) })
	g.Go(func() error { return c.startKubernetes(ctx, parts, run, images) })
	return g.Wait()
}

// importAll imports what the cluster's own pods need, says so, and goes on with Fabric's images.
func (c *Cluster) importAll(ctx context.Context, parts map[string]recipe.Built, platformDone chan<- struct{}) error {
	done := c.phase("containerd answers")
	err := wait(ctx, startLimit, c.dead, func(ctx context.Context) error {
		_, err := c.ctr(ctx, "version")
		return err
	})
	if err != nil {
		return fmt.Errorf("waiting for containerd: %w", err)
	}
	done()
	platform, err := platformImages(parts)
	if err != nil {
		return err
	}
	if err := c.provide(ctx, "the cluster", platform); err != nil {
		return err
	}
	close(platformDone)
	fabric, err := fabricImages(parts)
	if err != nil {
		return err
	}
	return c.provide(ctx, "Fabric", append(fabric, s3Image(parts)))
}

// startKubernetes starts what needs the API server and waits until the deployments are available.
func (c *Cluster) startKubernetes(ctx context.Context, parts map[string]recipe.Built, run func(...string) error, images <-chan struct{}) error {
	server, err := c.api()
	if err != nil {
		return err
	}
	done := c.phase("the API server is ready")
	if err := wait(ctx, startLimit, c.dead, server.ready); err != nil {
		return fmt.Errorf("waiting for the API server: %w", err)
	}
	done()
	if err := run(controllerManagerName, schedulerName, kubeletName, proxyName); err != nil {
		return err
	}
	nodeDone := c.phase("the node is ready")
	if err := c.createBase(ctx, parts); err != nil {
		return err
	}
	if err := wait(ctx, startLimit, c.dead, server.nodeReady); err != nil {
		return fmt.Errorf("waiting for the node: %w", err)
	}
	nodeDone()
	// It looks for its node once, and ends if there is none yet.
	if err := run(routerName); err != nil {
		return err
	}
	select {
	case <-images:
	case <-ctx.Done():
		return ctx.Err()
	}
	done = c.phase("DNS, volumes and Argo are available")
	if err := c.createPods(ctx, parts); err != nil {
		return err
	}
	for _, d := range deployments {
		err := wait(ctx, podLimit, c.dead, func(ctx context.Context) error { return server.available(ctx, d) })
		if err != nil {
			return fmt.Errorf("waiting for deployment %s/%s: %w", d.namespace, d.name, err)
		}
	}
	done()
	return nil
}

// createBase makes what pods refer to.
func (c *Cluster) createBase(ctx context.Context, parts map[string]recipe.Built) error {
	text, err := render("base.yaml", values{})
	if err != nil {
		return err
	}
	return c.create(ctx, parts["kubernetes"].Bin("kubectl"), text, "-f", "-")
}

// createPods makes the deployments. Their images must be there: a kubelet that has tried to pull waits before it looks again.
func (c *Cluster) createPods(ctx context.Context, parts map[string]recipe.Built) error {
	kubectl := parts["kubernetes"].Bin("kubectl")
	v, err := c.values(parts)
	if err != nil {
		return err
	}
	for _, name := range []string{"coredns.yaml", "local-path.yaml"} {
		text, err := render(name, v)
		if err != nil {
			return err
		}
		if err := c.create(ctx, kubectl, text, "-f", "-"); err != nil {
			return err
		}
	}
	dir, err := c.writeArgo(parts["argo"], v)
	if err != nil {
		return err
	}
	return c.create(ctx, kubectl, "", "-k", dir)
}
