package fabrictest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/fabric"
	"pivt.io/pivt/pkg/network"
)

func (c contract) pkg(version string) (id string, data []byte) { return c.pkgOf("basic", version) }

func (c contract) pkgOf(name, version string) (id string, data []byte) {
	cc := &network.Chaincode{Name: name, Version: version, Image: "example.com/basic@sha256:" + strings.Repeat("ab", 32)}
	data, err := chaincode.Package(cc, nil)
	c.ok("packaging", err)
	return chaincode.PackageID(cc.Label(), data), data
}

func (c contract) installing() {
	ctx := c.Context()
	id, pkg := c.pkg("1.0")
	for _, name := range []string{"org1", "org2"} {
		p := c.peer(name, c.admin(strings.Replace(name, "o", "O", 1)))
		installed, err := p.Installed(ctx)
		c.ok("listing packages", err)
		c.same("packages of a new peer", []string(nil), installed)
		got, err := p.Install(ctx, pkg)
		c.ok("installing", err)
		c.same("package id", id, got)
		_, err = p.Install(ctx, pkg)
		c.is("installing again", err, fabric.ErrExists, false)
		installed, err = p.Installed(ctx)
		c.ok("listing packages", err)
		c.same("packages", []string{id}, installed)
	}
	_, err := c.peer("org1", c.client("Org1")).Installed(ctx)
	c.is("listing packages as a client", err, fabric.ErrDenied, false)
	_, err = c.peer("org1", c.client("Org1")).Install(ctx, pkg)
	c.is("installing as a client", err, fabric.ErrDenied, false)
	if _, err = c.peer("org1", c.admin("Org1")).Install(ctx, []byte("no package")); err == nil || exit.IsTransient(err) {
		c.Errorf("installing what is no package: %v; that will never do", err)
	}
}

// building is about what takes long when a package is source.
func (c contract) building() {
	ctx, node := c.Context(), c.node("org1")
	p := c.peer("org1", c.admin("Org1"))
	_, broken := c.pkgOf("broken", "1.0")
	_, err := p.Install(ctx, broken)
	c.is("installing what does not build", err, fabric.ErrBuild, false)
	if !strings.Contains(fmt.Sprint(err), "could not build chaincode") || strings.Contains(fmt.Sprint(err), "InstallChaincode") {
		c.Errorf("the peer's own words are lost, or Fabric's are in the way: %v", err)
	}

	slow, pkg := c.pkgOf("slow", "1.0")
	c.net.HoldBuilds(node, true)
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = p.Install(short, pkg)
	if !exit.IsTransient(err) {
		c.Errorf("giving up on a build: %v; that passes", err)
	}
	installed, err := p.Installed(ctx)
	c.ok("listing packages", err)
	if slices.Contains(installed, slow) {
		// Fabric keeps a package before it has built it, and lists it only afterwards.
		c.Errorf("a package that is being built is listed: %v", installed)
	}
	second := make(chan error, 1)
	go func() {
		_, err := p.Install(ctx, pkg)
		second <- err
	}()
	c.net.HoldBuilds(node, false)
	c.is("joining a build that goes on", <-second, fabric.ErrExists, false)
	c.same("builds of one package", 1, c.net.Builds(node, "slow_1.0"))

	id, want := c.pkg("1.0")
	got, err := p.InstalledPackage(ctx, id)
	c.ok("reading a package", err)
	c.same("package", want, got)
	_, err = p.InstalledPackage(ctx, "basic_1.0:"+strings.Repeat("0", 64))
	c.is("reading a package that is not there", err, fabric.ErrNotInstalled, false)
	_, err = c.peer("org1", c.client("Org1")).InstalledPackage(ctx, id)
	c.is("reading a package as a client", err, fabric.ErrDenied, false)
	packages, err := p.Packages(ctx)
	c.ok("listing packages", err)
	c.same("packages", []fabric.Package{{ID: id, Label: "basic_1.0"}, {ID: slow, Label: "slow_1.0"}}, packages)
}

func (c contract) approving() {
	ctx := c.Context()
	id, _ := c.pkg("1.0")
	p, d := c.peer("org1", c.admin("Org1")), definition(1, "1.0")
	_, err := p.Committed(ctx, "common", "basic")
	c.is("definition before there is one", err, fabric.ErrNotDefined, false)
	have, err := p.Approved(ctx, "common", "basic", 1)
	c.ok("approval before there is one", err)
	c.same("approval before there is one", (*fabric.Approved)(nil), have)
	have, err = p.Approved(ctx, "common", "basic", 0)
	c.ok("newest approval before there is one", err)
	c.same("newest approval before there is one", (*fabric.Approved)(nil), have)
	ready, err := p.Readiness(ctx, "common", d)
	c.ok("readiness", err)
	c.same("readiness", map[string]bool{"Org1MSP": false, "Org2MSP": false}, ready)

	c.soon("approving", func(ctx context.Context) error { return p.Approve(ctx, "common", d, id) })
	have, err = p.Approved(ctx, "common", "basic", 1)
	c.ok("approval", err)
	if have == nil || !have.Equal(d.Parameters) || have.Sequence != 1 || have.PackageID != id {
		c.Errorf("approval = %+v, want %+v of %s", have, d, id)
	}
	newest, err := p.Approved(ctx, "common", "basic", 0)
	c.ok("newest approval", err)
	c.same("newest approval", have, newest)
	c.is("approving the same again", p.Approve(ctx, "common", d, id), fabric.ErrUnchanged, false)
	c.is("approving far ahead", p.Approve(ctx, "common", definition(3, "1.0"), id), fabric.ErrStale, true)
	c.is("approving as a client", c.peer("org1", c.client("Org1")).Approve(ctx, "common", d, id), fabric.ErrDenied, false)

	for _, as := range []fabric.Identity{c.admin("Org1"), c.client("Org1")} {
		ready, err = c.peer("org1", as).Readiness(ctx, "common", d)
		c.ok("readiness", err)
		c.same("readiness", map[string]bool{"Org1MSP": true, "Org2MSP": false}, ready)
	}
	_, err = p.Readiness(ctx, "common", definition(2, "1.0"))
	c.is("readiness of a sequence number that is not due", err, fabric.ErrStale, true)
	all, err := p.Definitions(ctx, "common")
	c.ok("definitions", err)
	c.same("definitions", []chaincode.Definition(nil), all)
}

func (c contract) committing() {
	ctx := c.Context()
	id, _ := c.pkg("1.0")
	d := definition(1, "1.0")
	client := c.peer("org1", c.client("Org1"))
	// One approval of two. As long as the peers do not know each other the answer is another.
	c.soon("being refused for the right reason", func(ctx context.Context) error {
		err := client.Commit(ctx, "common", d)
		if !errors.Is(err, fabric.ErrNotApproved) {
			return fmt.Errorf("instead of a missing approval: %w", err)
		}
		c.is("committing too early", err, fabric.ErrNotApproved, true)
		return nil
	})
	c.soon("approving for Org2", func(ctx context.Context) error {
		return c.peer("org2", c.admin("Org2")).Approve(ctx, "common", d, id)
	})
	c.soon("seeing both approvals", func(ctx context.Context) error {
		ready, err := client.Readiness(ctx, "common", d)
		if err == nil && !ready["Org2MSP"] {
			err = errLater
		}
		return err
	})
	c.soon("committing", func(ctx context.Context) error { return client.Commit(ctx, "common", d) })
	c.is("committing again", client.Commit(ctx, "common", d), fabric.ErrStale, true)
	_, err := client.Readiness(ctx, "common", d)
	c.is("readiness of what is committed", err, fabric.ErrStale, true)
	for _, name := range []string{"org1", "org2"} {
		var got *fabric.Committed
		c.soon("reading the definition", func(ctx context.Context) (err error) {
			got, err = c.peer(name, c.client("Org1")).Committed(ctx, "common", "basic")
			return err
		})
		c.same("approvals", map[string]bool{"Org1MSP": true, "Org2MSP": true}, got.Approvals)
		if got.Sequence != 1 || !got.Equal(d.Parameters) {
			c.Errorf("definition = %+v, want %+v", got, d)
		}
	}
	all, err := client.Definitions(ctx, "common")
	c.ok("definitions", err)
	if len(all) != 1 || all[0].Name != "basic" || !all[0].Equal(d.Parameters) {
		c.Errorf("definitions = %+v, want basic", all)
	}
	// Fabric 3 refuses at once; 2.5 orders a transaction that writes nothing and finds it invalid.
	err = c.peer("org1", c.admin("Org1")).Approve(ctx, "common", d, id)
	if !errors.Is(err, fabric.ErrUnchanged) && !errors.Is(err, fabric.ErrInvalidated) || exit.IsTransient(err) {
		c.Errorf("approving what is committed: %v; want %v or %v", err, fabric.ErrUnchanged, fabric.ErrInvalidated)
	}
	c.is("approving other parameters for a committed number",
		c.peer("org1", c.admin("Org1")).Approve(ctx, "common", definition(1, "9.9"), id), fabric.ErrStale, true)
	c.soon("peers telling that they could run it", func(ctx context.Context) error {
		for _, name := range []string{"org1", "org2"} {
			members, err := c.peer(name, c.client("Org1")).Members(ctx, "common")
			if err != nil {
				return err
			}
			if !hasMember(members, c.node(name).Address(), "basic") {
				return errLater
			}
		}
		return nil
	})
}

func (c contract) calling() {
	ctx := c.Context()
	p := c.peer("org1", c.client("Org1"))
	c.soon("evaluating", func(ctx context.Context) error {
		answer, err := p.Evaluate(ctx, "common", "basic", "hello", "you")
		if err == nil && string(answer) != "hello" {
			c.Errorf("the chaincode answers %q", answer)
		}
		return err
	})
	_, err := p.Evaluate(ctx, "common", "basic", "fail")
	c.is("a call that the chaincode refuses", err, fabric.ErrRejected, false)
	if !strings.Contains(fmt.Sprint(err), "this function fails") {
		c.Errorf("the chaincode's own words are lost: %v", err)
	}
	_, err = p.Evaluate(ctx, "common", "nobody", "hello")
	c.is("a chaincode that is not there", err, fabric.ErrNoEndorsers, false)
	_, err = p.Submit(ctx, "common", "basic", "fail")
	c.is("a transaction that the chaincode refuses", err, fabric.ErrRejected, false)

	c.soon("finding endorsers", func(ctx context.Context) error { return p.Endorsable(ctx, "common", "basic") })
	c.is("endorsers of a chaincode that is not there", p.Endorsable(ctx, "common", "nobody"), fabric.ErrNoEndorsers, false)

	before, err := p.Height(ctx, "common")
	c.ok("height", err)
	c.soon("submitting", func(ctx context.Context) error {
		_, err := p.Submit(ctx, "common", "basic", "hello")
		return err
	})
	after, err := p.Height(ctx, "common")
	c.ok("height", err)
	if after <= before {
		c.Errorf("height %d after a transaction, %d before", after, before)
	}
}

// initializing defines a second chaincode, of the same package, that wants an init call.
func (c contract) initializing() {
	ctx := c.Context()
	id, _ := c.pkg("1.0")
	d := definition(1, "1.0")
	d.Name, d.InitRequired = "ledger", true
	client := c.peer("org1", c.client("Org1"))
	for _, org := range []string{"Org1", "Org2"} {
		c.soon("approving", func(ctx context.Context) error {
			return c.peer(strings.ToLower(org), c.admin(org)).Approve(ctx, "common", d, id)
		})
	}
	c.soon("committing", func(ctx context.Context) error {
		err := client.Commit(ctx, "common", d)
		if _, e := client.Committed(ctx, "common", "ledger"); e == nil {
			return nil // also if it was the try before
		}
		return err
	})
	packages, err := c.peer("org1", c.admin("Org1")).Packages(ctx)
	c.ok("listing packages", err)
	c.same("uses of the package", []fabric.Use{{Channel: "common", Chaincode: "basic", Version: "1.0"},
		{Channel: "common", Chaincode: "ledger", Version: "1.0"}}, packages[0].Uses)

	c.soon("being refused for the right reason", func(ctx context.Context) error {
		_, err := client.Evaluate(ctx, "common", "ledger", "hello")
		if !errors.Is(err, fabric.ErrNotInitialized) {
			return fmt.Errorf("instead of a missing init call: %w", err)
		}
		c.is("calling before the init call", err, fabric.ErrNotInitialized, false)
		return nil
	})
	done, err := client.Initialized(ctx, "common", "ledger", "init", "1")
	c.ok("asking whether it is initialized", err)
	c.same("initialized before the init call", false, done)
	done, err = client.Initialized(ctx, "common", "ledger", "fail")
	c.ok("asking with a call that the chaincode refuses", err)
	c.same("initialized before the init call", false, done)
	err = client.Init(ctx, "common", "ledger", "fail")
	c.is("an init call that the chaincode refuses", err, fabric.ErrRejected, false)

	// Two at once: one is ordered second or comes too late, and finds it done.
	results := make(chan error, 2)
	c.soon("finding endorsers", func(ctx context.Context) error { return client.Endorsable(ctx, "common", "ledger") })
	for _, as := range []string{"Org1", "Org2"} {
		p := c.peer(strings.ToLower(as), c.client(as))
		go func() {
			for {
				err := p.Init(ctx, "common", "ledger", "init", "1")
				if !exit.IsTransient(err) {
					results <- err
					return
				}
			}
		}()
	}
	for range 2 {
		if err := <-results; err != nil && !errors.Is(err, fabric.ErrInitialized) {
			c.Errorf("one of two init calls: %v, want it done or %v", err, fabric.ErrInitialized)
		}
	}
	for _, name := range []string{"org1", "org2"} {
		c.soon("being initialized", func(ctx context.Context) error {
			done, err := c.peer(name, c.client("Org1")).Initialized(ctx, "common", "ledger", "init", "1")
			if err == nil && !done {
				err = errLater
			}
			return err
		})
	}
	c.is("a second init call", client.Init(ctx, "common", "ledger", "init", "1"), fabric.ErrInitialized, false)
	c.soon("evaluating", func(ctx context.Context) error {
		_, err := client.Evaluate(ctx, "common", "ledger", "hello")
		return err
	})
	c.is("an init call that nobody asked for", client.Init(ctx, "common", "basic", "init"), fabric.ErrStale, true)
	_, err = client.Initialized(ctx, "common", "nobody", "init")
	c.is("a chaincode that is not there", err, fabric.ErrNotInstalled, false)
}

// upgrading changes the policy to one that no peer can satisfy.
func (c contract) upgrading() {
	ctx := c.Context()
	id, _ := c.pkg("1.0")
	cc := &network.Chaincode{Name: "basic", Version: "2.0"}
	wanted, err := chaincode.Wanted(cc, &network.ChaincodeChannel{Channel: c.ch, Policy: "AND('Org1MSP.admin','Org2MSP.admin')"})
	c.ok("reading the policy", err)
	client := c.peer("org1", c.client("Org1"))
	committed, err := client.Committed(ctx, "common", "basic")
	c.ok("reading the definition", err)
	next := chaincode.Next("basic", wanted, &committed.Definition)
	c.same("next sequence number", int64(2), next.Sequence)
	for _, org := range []string{"Org1", "Org2"} {
		c.soon("approving", func(ctx context.Context) error {
			return c.peer(strings.ToLower(org), c.admin(org)).Approve(ctx, "common", next, id)
		})
	}
	c.soon("seeing both approvals", func(ctx context.Context) error {
		ready, err := client.Readiness(ctx, "common", next)
		if err == nil && (!ready["Org1MSP"] || !ready["Org2MSP"]) {
			err = errLater
		}
		return err
	})
	c.soon("committing", func(ctx context.Context) error { return client.Commit(ctx, "common", next) })
	after, err := client.Committed(ctx, "common", "basic")
	c.ok("reading the definition", err)
	c.same("differences between wanted and stored", []string(nil), wanted.Differences(after.Parameters))
	c.same("policy", "AND('Org1MSP.admin','Org2MSP.admin')", chaincode.PolicyString(after.Policy))
	c.is("endorsers of a policy that nobody satisfies", client.Endorsable(ctx, "common", "basic"), fabric.ErrNoEndorsers, false)
	_, err = client.Submit(ctx, "common", "basic", "hello")
	c.is("a transaction that nobody can endorse", err, fabric.ErrNoEndorsers, false)
}

func (c contract) restarted() {
	ctx := c.Context()
	for _, node := range c.n.Nodes() {
		if node.Org.Kind == network.Orderer || node.Org.Name == "Org1" {
			c.net.Stop(node)
		}
	}
	admin := c.peer("org2", c.admin("Org2"))
	err := admin.Approve(ctx, "common", definition(3, "3.0"), "")
	if !exit.IsTransient(err) {
		c.Errorf("approving without orderers: %v; that passes", err)
	}
	for _, node := range c.n.Nodes() {
		if node.Org.Kind == network.Orderer || node.Org.Name == "Org1" {
			c.net.Start(node)
		}
	}
	c.soon("approving with orderers", func(ctx context.Context) error {
		err := admin.Approve(ctx, "common", definition(3, "3.0"), "")
		if errors.Is(err, fabric.ErrUnchanged) {
			return nil // the first try was ordered after all
		}
		return err
	})
	var channels []string
	c.soon("listing channels", func(ctx context.Context) (err error) {
		channels, err = c.peer("org1", c.admin("Org1")).Channels(ctx)
		return err
	})
	c.same("channels after a restart", []string{"common"}, channels)
}
