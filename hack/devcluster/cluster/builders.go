package cluster

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"pivt.io/pivt/hack/devcluster/image"
	"pivt.io/pivt/hack/devcluster/recipe"
	"pivt.io/pivt/hack/devcluster/rootfs"
)

// The scripts do what those in the published images do, in our words.
var (
	//go:embed builders/node-build.sh
	nodeBuild []byte
	//go:embed builders/node-start.sh
	nodeStart []byte
	//go:embed builders/java-build.sh
	javaBuild []byte
	//go:embed builders/java-start.sh
	javaStart []byte
)

const javaDir = "/root/chaincode-java"

// builderTools are what the images of builders take beside the cluster's own tools.
var builderTools = []tool{{rootfs.Program, rootfs.Package}, {rootfs.NPM, "npm"}}

// builderImages are the images that chaincode from source is built in and runs in, under the names users' networks have
// them. They share one Debian, so the second costs next to nothing.
func (c *Cluster) builderImages(ctx context.Context, project string) ([]image.Spec, error) {
	layers, err := c.rootfs(ctx)
	if err != nil {
		return nil, err
	}
	sample, err := c.compile(ctx, filepath.Join(project, "samples/chaincode/basic"), ".")
	if err != nil {
		return nil, err
	}
	names := func(image string, tags ...string) []string {
		var all []string
		for _, tag := range tags {
			all = append(all, "docker.io/hyperledger/"+image+":"+tag)
		}
		return all
	}
	script := func(path string, text []byte) image.File { return image.File{Path: path, Mode: 0o755, Data: text} }
	dirs := []image.File{{Path: "/chaincode/input", Dir: true}, {Path: "/chaincode/output", Dir: true}}
	node := append([]image.File{script("/chaincode/build.sh", nodeBuild), script("/chaincode/start.sh", nodeStart)}, dirs...)
	for path, target := range rootfs.NPMPrograms() {
		node = append(node, image.File{Path: path, Link: target})
	}
	return []image.Spec{
		{
			Names: names("fabric-ccenv", "3.1", "2.5"), Base: []string{layers.Debian, layers.Go}, User: chaincodeUser, Cmd: []string{"sh"},
			Env:   []string{"PATH=" + rootfs.GoRoot + "/bin:" + strings.TrimPrefix(pathEnv, "PATH="), "GOPATH=/go"},
			Files: append([]image.File{{Path: "/go", Dir: true, Mode: 0o777}}, dirs...),
		},
		{
			Names: names("fabric-baseos", "3.1", "2.5"), Base: []string{layers.Debian}, User: chaincodeUser, Cmd: []string{"sh"}, Env: []string{pathEnv},
		},
		{
			Names: names("fabric-nodeenv", "2.5"), Base: []string{layers.Debian, layers.NPM}, Cmd: []string{"sh"}, Env: []string{pathEnv}, Files: node,
		},
		{
			Names: names("fabric-javaenv", "2.5"), Base: []string{layers.Debian}, Cmd: []string{"sh"}, Env: []string{pathEnv}, WorkDir: javaDir,
			Files: append([]image.File{
				// Debian closes /root to others; the published image does too, but there is no Java in this one to prove anything by that.
				{Path: "/root", Dir: true, Mode: 0o755},
				script(javaDir+"/build.sh", javaBuild), script(javaDir+"/start", javaStart),
				{Path: "/usr/local/bin/sample-chaincode", Mode: 0o755, Data: sample},
			}, dirs...),
		},
	}, nil
}

// chaincodeUser is the user of Fabric's builder and runtime images for Go.
const chaincodeUser = "500"

func (c *Cluster) rootfs(ctx context.Context) (rootfs.Layers, error) {
	builder, err := c.builder(ctx)
	if err != nil {
		return rootfs.Layers{}, err
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = c.Root
	goroot, err := cmd.Output()
	if err != nil {
		return rootfs.Layers{}, fmt.Errorf("asking go for its directory: %w", err)
	}
	return rootfs.Maker{
		Builder: builder, GoRoot: strings.TrimSpace(string(goroot)), Mirror: os.Getenv("PIVT_DEBIAN_MIRROR"),
	}.All(ctx)
}

func (c *Cluster) builder(ctx context.Context) (*recipe.Builder, error) {
	version, err := recipe.GoVersion(ctx, c.Root)
	if err != nil {
		return nil, err
	}
	return &recipe.Builder{
		Modules: filepath.Join(c.Root, "parts"), Cache: filepath.Join(c.Cache, "parts"), Logs: c.BuildLogs(), GoVersion: version,
		Report: func(p recipe.Part, took time.Duration) {
			c.say("%6.1fs  built %s %s", took.Seconds(), p.Name, p.Version)
		},
	}, nil
}
