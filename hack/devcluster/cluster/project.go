package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"pivt.io/pivt/hack/devcluster/image"
)

const (
	pivtImage      = "docker.io/pivt/pivt:dev"
	chaincodeImage = "docker.io/pivt/basic:1.0"
	serverImage    = "docker.io/pivt/server:1.0"
	faultyImage    = "docker.io/pivt/faulty:1.0"
	// nobodyUser is a number because Kubernetes can check runAsNonRoot against nothing else.
	nobodyUser = "65532:65532"
	// caBundle is what the machine trusts: install steps fetch packages from registries.
	caBundle = "/etc/ssl/certs/ca-certificates.crt"
	// chaincodeToolchain is fixed: the digest of the chaincode image is written into the default network.yaml.
	chaincodeToolchain = "go1.26.8"
)

// tools are the programs of the machine it takes to run the cluster and to make the images of the project.
func (p Project) tools() []tool {
	if p.Builders {
		return slices.Concat(tools, builderTools)
	}
	return tools
}

// projectImages builds the programs of a checkout of pivt and returns their images. One that does not compile does not keep the others
// from being used, so there may be images and an error.
func (c *Cluster) projectImages(ctx context.Context, project Project) ([]image.Spec, error) {
	done := c.phase("built the programs of " + project.Dir)
	dir, err := filepath.Abs(project.Dir)
	if err != nil {
		return nil, err
	}
	var specs []image.Spec
	var problems []error
	type program struct {
		name, dir, inImage string
		env                []string
		files              []image.File
		beside             map[string]string // further programs of the image: path to package
	}
	const chaincode = "/usr/local/bin/chaincode"
	pinned := []string{"GOTOOLCHAIN=" + chaincodeToolchain, "GOEXPERIMENT="}
	programs := []program{
		{pivtImage, "cmd/pivt-pod", "/usr/local/bin/pivt", nil, []image.File{{Path: caBundle, Source: caBundle}},
			map[string]string{"/usr/local/bin/pivt-backup": "cmd/pivt-backup"}},
		{chaincodeImage, "samples/chaincode/basic", chaincode, pinned, nil, nil},
	}
	if project.Builders { // what only tests run
		programs = append(programs,
			program{serverImage, "samples/chaincode/server", chaincode, pinned, nil, nil},
			program{faultyImage, "cmd/pivt/e2e/testdata/faulty", chaincode, pinned, nil, nil})
	}
	for _, p := range programs {
		binary, err := c.compile(ctx, filepath.Join(dir, p.dir), ".", p.env...)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		files := append(p.files, append(accounts(), image.File{Path: p.inImage, Mode: 0o755, Data: binary})...)
		for path, pkg := range p.beside {
			if binary, err = c.compile(ctx, filepath.Join(dir, pkg), "."); err != nil {
				break
			}
			files = append(files, image.File{Path: path, Mode: 0o755, Data: binary})
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		specs = append(specs, image.Spec{
			Names: []string{p.name}, Entrypoint: []string{p.inImage}, User: nobodyUser, Env: []string{pathEnv},
			Files: files,
		})
	}
	done()
	if project.Builders {
		builders, err := c.builderImages(ctx, dir)
		specs, problems = append(specs, builders...), append(problems, err)
	}
	return specs, errors.Join(problems...)
}

// compile builds one static program in a way that gives the same bytes wherever and whenever it is done: no paths, no
// version control state, no build id, and nothing from the environment that changes the code.
func (c *Cluster) compile(ctx context.Context, dir, pkg string, env ...string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "devcluster-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "program")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1"), env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("building %s in %s: %w:\n%s", pkg, dir, err, bytes.TrimSpace(said.Bytes()))
	}
	return os.ReadFile(out)
}
