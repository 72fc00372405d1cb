package launcher_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/runtime/runtimetest"
)

const pivtImage = "pivt/pivt:test"

// source is a package of source with all kinds of indexes.
func source(kind, label string) pkg {
	return pkg{
		metadata: fmt.Sprintf(`{"type":%q,"label":%q,"path":"example.com/cc"}`, kind, label),
		files: map[string]string{
			"src/main.go":      "package main",
			"src/pom.xml":      "<project/>",
			"src/package.json": "{}",
			"META-INF/statedb/couchdb/indexes/owner.json":             "{}",
			"META-INF/statedb/couchdb/collections/c/indexes/own.json": "{}",
		},
	}
}

// builds is a builder image that leaves files and counts its builds. A path that ends in
// "*" is executable, content that begins with "-> " is a link.
type builds struct {
	files  map[string]string
	status int
	said   string
	hold   chan struct{} // if given, a build ends with it
	count  atomic.Int32
	env    atomic.Pointer[runtimetest.Container]
}

func (b *builds) run(ctx context.Context, c runtimetest.Container) int {
	b.count.Add(1)
	b.env.Store(&c)
	fmt.Fprint(c.Output, b.said)
	if data, err := os.ReadFile(c.Path("/chaincode/input/src/main.go")); err != nil || string(data) != "package main" {
		fmt.Fprintf(c.Output, "the source: %q, %v\n", data, err)
		return 99
	}
	if b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			return 143
		}
	}
	for name, data := range b.files {
		name, exec := strings.CutSuffix(name, "*")
		path := filepath.Join(c.Path("/chaincode/output"), name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, link := strings.CutPrefix(data, "-> "); link {
			err = os.Symlink(target, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(data), 0o644)
			if exec && err == nil {
				err = os.Chmod(path, 0o755)
			}
		}
		if err != nil {
			fmt.Fprintln(c.Output, err)
			return 98
		}
	}
	return b.status
}

// forge is a cluster in which one image builds and another one runs.
func forge(t *testing.T, b *builds, run runtimetest.Program) *runtimetest.Cluster {
	t.Helper()
	if run == nil {
		run = serve
	}
	return runtimetest.New(t, runtimetest.Options{Images: map[string]runtimetest.Program{
		pivtImage: runtimetest.Pivt, "example.com/builder:1": b.run, "example.com/runner:1": runtimetest.WithProgram(run),
	}})
}

// forgePeer is a peer whose launcher is configured for such a cluster.
func forgePeer(t *testing.T, c *runtimetest.Cluster, config string) *peer {
	t.Helper()
	p := newPeer(t, c)
	const images = "{build: example.com/builder:1, run: example.com/runner:1}"
	write(t, p.dir, map[string]string{"launcher.yaml": fmt.Sprintf("images: {golang: %s, java: %s, node: %s}\n%s", images, images, images, config)})
	maps.Copy(p.env, map[string]string{
		"PIVT_IMAGE": pivtImage, "PIVT_POD_IP": "127.0.0.1", "PIVT_ORG": "org1",
		"PIVT_LAUNCHER_CONFIG": filepath.Join(p.dir, "launcher.yaml"),
	})
	return p
}

// TestSourceLife is the whole life of chaincode from source.
func TestSourceLife(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		kind    string
		output  map[string]string
		path    string // where the chaincode finds what was built
		command string // in its start command
		script  string // in the build's script
	}{
		"Golang": {"GoLang", map[string]string{"chaincode*": "program"}, "/usr/local/bin", `exec /usr/local/bin/chaincode -peer.address="$CORE_PEER_ADDRESS"`, `path='example.com/cc'`},
		"Java":   {"java", map[string]string{"chaincode.jar": "jar", ".uberjar": ""}, "/root/chaincode-java/chaincode", "/root/chaincode-java/start --peerAddress", "/root/chaincode-java/build.sh"},
		"Node": {"NODE", map[string]string{"package.json": "{}", "node_modules/x/cli.js*": "x", "node_modules/.bin/x": "-> ../x/cli.js"},
			"/usr/local/src", "exec npm start -- --peer.address", "/chaincode/build.sh"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &builds{files: tc.output, said: "compiling\n"}
			started := make(chan runtimetest.Container, 1)
			c := forge(t, b, func(ctx context.Context, in runtimetest.Container) int {
				started <- in
				return serve(ctx, in)
			})
			p := forgePeer(t, c, "build: {env: [{name: GOPROXY, value: \"off\"}]}\nchaincodes: {basic: {spec: {containers: [{name: chaincode, env: [{name: A, value: b}]}]}}}")
			p.env["CORE_CHAINCODE_LOGGING_LEVEL"] = "debug"
			in := source(tc.kind, "basic_1.0")
			durable, err := p.install(in)
			if err != nil {
				t.Fatalf("install: %v\n%s", err, strings.Join(p.logged(), "\n"))
			}
			awaitEmpty(c)
			if !p.hasLogged("[basic_1.0] compiling") {
				t.Errorf("the build's log is not in the peer's: %v", p.logged())
			}
			built := b.env.Load()
			if got := built.Args[len(built.Args)-1]; !strings.Contains(got, tc.script) {
				t.Errorf("script %q lacks %q", got, tc.script)
			}
			if built.Env["GOPROXY"] != "off" || built.Env["HOME"] != "/tmp" || len(built.Files) != 0 {
				t.Errorf("the build has env %v, files %v; it must not see the ticket", built.Env, built.Files)
			}
			want := []string{"statedb/couchdb/collections/c/indexes/own.json", "statedb/couchdb/indexes/owner.json"}
			if got := files(t, filepath.Join(durable, "release")); !slices.Equal(got, want) {
				t.Errorf("release holds %v, want %v", got, want)
			}

			launch := info()
			launch.ID = in.id()
			r := p.launch(durable, launch, true)
			var run runtimetest.Container
			select {
			case run = <-started:
			case <-time.After(10 * time.Second):
				t.Fatalf("the chaincode does not start: %v", p.logged())
			}
			code, err := runtimetest.Tree(run.Path(tc.path))
			if err != nil {
				t.Fatal(err)
			}
			wantCode := map[string]string{}
			for name, data := range tc.output {
				if data == "-> ../x/cli.js" {
					data = "x"
				}
				wantCode[strings.TrimSuffix(name, "*")] = data
			}
			if diff := cmp.Diff(wantCode, code); diff != "" {
				t.Errorf("the chaincode's code: -want, +got:\n%s", diff)
			}
			if got := strings.Join(run.Args, " "); !strings.Contains(got, tc.command) {
				t.Errorf("started by %q, want %q in it", got, tc.command)
			}
			if run.Env["A"] != "b" || run.Env["CORE_CHAINCODE_ID_NAME"] != in.id() || run.Env["CORE_PEER_TLS_ENABLED"] != "true" {
				t.Errorf("environment %v", run.Env)
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			awaitEmpty(c)
		})
	}
}

func TestSourceFails(t *testing.T) {
	t.Parallel()
	program := map[string]string{"chaincode*": "program"}
	cases := map[string]struct {
		reason string
		builds *builds
		config string
		env    map[string]string
		change func(*pkg)
		want   string // in the peer's log
		noPod  bool
	}{
		"Compiler": {reason: "The compiler's words are what the developer needs.",
			builds: &builds{said: "# example.com/cc\n./main.go:7:2: undefined: foo\n", status: 1}, want: "./main.go:7:2: undefined: foo"},
		"Status":  {reason: "And its status.", builds: &builds{said: "x\n", status: 7}, want: "Error: building chaincode basic_1.0: the build exited with status 7"},
		"Nothing": {reason: "A build that leaves no program cannot be started later.", builds: &builds{}, want: "the build left no chaincode in /chaincode/output"},
		"NotExec": {reason: "Nor one that may not be executed.", builds: &builds{files: map[string]string{"chaincode": "text"}}, want: "the build left no chaincode in /chaincode/output"},
		"Link":    {reason: "A link is no program.", builds: &builds{files: map[string]string{"real*": "x", "chaincode": "-> real"}}, want: "the build left no chaincode in /chaincode/output"},
		"Escape":  {reason: "What comes back is hostile.", builds: &builds{files: map[string]string{"chaincode*": "x", "x": "-> ../../../etc/passwd"}}, want: `"x" is a link that leaves the tree`},
		"Absolute": {reason: "Fabric refuses such a link when it has half of the build copied.",
			builds: &builds{files: map[string]string{"chaincode*": "x", "x": "-> /etc/passwd"}}, want: `"x" is a link that leaves the tree`},
		"Bomb":   {reason: "A limit is a limit.", builds: &builds{files: program}, config: "build: {maxBytes: 3}", want: `Error: building chaincode basic_1.0: the tree is larger than 3 bytes`},
		"Path":   {reason: "A path out of the package is refused before anything runs.", builds: &builds{files: program}, change: func(p *pkg) { p.metadata = `{"type":"golang","label":"basic_1.0","path":"../x"}` }, want: `path "../x" leaves the package's tree`, noPod: true},
		"Config": {reason: "A misspelt key is said, not ignored.", builds: &builds{files: program}, config: "built: {}", want: `unknown field "built"`, noPod: true},
		"NoIP":   {reason: "A custom core.yaml may forget to pass our variables on.", builds: &builds{files: program}, env: map[string]string{"PIVT_POD_IP": ""}, want: "Error: building chaincode basic_1.0: not set: PIVT_POD_IP\nHint:  the peer passes on only what", noPod: true},
		"NoImage": {reason: "The kubelet's reason is the launcher's.", builds: &builds{files: program},
			config: "", env: map[string]string{"PIVT_IMAGE": "UPPER"}, want: "repository name must be lowercase"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := forge(t, tc.builds, nil)
			p := forgePeer(t, c, tc.config)
			maps.Copy(p.env, tc.env)
			in := source("golang", "basic_1.0")
			if tc.change != nil {
				tc.change(&in)
			}
			_, err := p.install(in)
			if err == nil || !strings.HasPrefix(err.Error(), "build: ") || !p.hasLogged(tc.want) {
				t.Errorf("%s\ninstall = %v; the peer's log:\n%s\nwant %q", tc.reason, err, strings.Join(p.logged(), "\n"), tc.want)
			}
			if calls := c.Calls(); tc.noPod && slices.Contains(calls, "create pods") {
				t.Errorf("%s\ncalls %v", tc.reason, calls)
			}
			awaitEmpty(c)
		})
	}
}

// TestSourceStop ends the launcher while it builds: nothing stays, and the peer has no
// build that could pass for one.
func TestSourceStop(t *testing.T) {
	t.Parallel()
	b := &builds{hold: make(chan struct{})}
	c := forge(t, b, nil)
	p := forgePeer(t, c, "")
	in := source("golang", "basic_1.0")
	src, metadata, bld := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, src, in.files)
	write(t, metadata, map[string]string{"metadata.json": in.metadata})
	r := p.start("build", src, metadata, bld)
	c.Await("a build", func() bool { return b.count.Load() == 1 })
	if err := r.stop(); err == nil || errors.Is(err, errKilled) {
		t.Errorf("build, asked to stop, ended with %v", err)
	}
	awaitEmpty(c)
	if got := files(t, bld); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}

// TestSourceKilled is a launcher that dies at once: the next build of the peer removes
// what it left.
func TestSourceKilled(t *testing.T) {
	t.Parallel()
	b := &builds{hold: make(chan struct{}), files: map[string]string{"chaincode*": "program"}}
	c := forge(t, b, nil)
	p := forgePeer(t, c, "")
	in := source("golang", "basic_1.0")
	src, metadata, bld := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, src, in.files)
	write(t, metadata, map[string]string{"metadata.json": in.metadata})
	r := p.start("build", src, metadata, bld)
	c.Await("a build", func() bool { return b.count.Load() == 1 })
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.wait()
	close(b.hold)
	if _, err := p.install(in); err != nil {
		t.Errorf("install after a launcher was killed: %v\n%s", err, strings.Join(p.logged(), "\n"))
	}
	awaitEmpty(c)
}

// TestSourceShared is two peers of an organisation that get the same package at the same
// moment: one of them builds.
func TestSourceShared(t *testing.T) {
	t.Parallel()
	b := &builds{hold: make(chan struct{}), files: map[string]string{"chaincode*": "program"}}
	c := forge(t, b, nil)
	names := []string{nodeName, "hlf-peer--org1--peer1"}
	tls := tlsFiles(t, names...)
	type result struct {
		durable string
		err     error
	}
	var peers []*peer
	results := make(chan result, len(names))
	for _, name := range names {
		p := forgePeer(t, c, "")
		maps.Copy(p.env, map[string]string{
			"PIVT_NODE": name, "PIVT_POD_NAME": name + "-0", "PIVT_POD_UID": c.AddPeer(name + "-0"),
			"CORE_PEER_TLS_CERT_FILE": filepath.Join(tls, name+".crt"), "CORE_PEER_TLS_KEY_FILE": filepath.Join(tls, name+".key"),
			"CORE_PEER_TLS_ROOTCERT_FILE": filepath.Join(tls, "ca.crt"),
		})
		peers = append(peers, p)
		go func() {
			durable, err := p.install(source("golang", "basic_1.0"))
			results <- result{durable, err}
		}()
	}
	c.Await("one peer to wait for the other", func() bool {
		return peers[0].hasLogged("builds this package already") || peers[1].hasLogged("builds this package already")
	})
	c.AwaitFollowers(1) // what it logs comes a moment before
	close(b.hold)
	for range names {
		r := <-results
		if r.err != nil {
			t.Errorf("install: %v\n%s\n%s", r.err, strings.Join(peers[0].logged(), "\n"), strings.Join(peers[1].logged(), "\n"))
			continue
		}
		if data, err := os.ReadFile(filepath.Join(r.durable, "bld", "output", "chaincode")); err != nil || string(data) != "program" {
			t.Errorf("a peer got %q, %v", data, err)
		}
	}
	if n := b.count.Load(); n != 1 {
		t.Errorf("%d builds of one package", n)
	}
	awaitEmpty(c)
}

// tlsFiles makes what the nodes of an organisation have: ca.crt, and a pair for each name.
func tlsFiles(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tlsca"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	caKey := newKey()
	save := func(file, kind string, der []byte) {
		write(t, dir, map[string]string{file: string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))})
	}
	sign := func(cert *x509.Certificate, key *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, cert, ca, &key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	save("ca.crt", "CERTIFICATE", sign(ca, caKey))
	for i, name := range names {
		key := newKey()
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		save(name+".key", "PRIVATE KEY", der)
		save(name+".crt", "CERTIFICATE", sign(&x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, key))
	}
	return dir
}
