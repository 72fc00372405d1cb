package project

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"pivt.io/pivt/hack/devcluster/image"
)

// chaincodeToolchain builds the chaincode whatever Go is installed. Another version gives another digest, so raising it changes network.yaml.
const chaincodeToolchain = "go1.26.8"

// user runs both images; it is a number, so that the kubelet can see that it is not root.
const user = "65532"

// product is one image with one program.
type product struct {
	name    string // reference
	archive string // file name
	pkg     string // directory of the program, below the project
	program string // path in the image
	// toolchain is set where the result must be the same on every machine.
	toolchain string
}

var products = []product{
	{name: "docker.io/pivt/pivt:dev", archive: "pivt-pivt-dev.tar", pkg: "cmd/pivt-pod", program: "/usr/local/bin/pivt"},
	{
		name: "docker.io/pivt/basic:1.0", archive: "pivt-basic-1.0.tar", pkg: "samples/chaincode/basic", program: "/usr/local/bin/chaincode",
		toolchain: chaincodeToolchain,
	},
}

// Build builds the project's programs and writes an archive of each image into the folder.
func Build(ctx context.Context, dir, archives string) ([]image.Info, error) {
	return build(ctx, products, dir, archives)
}

func build(ctx context.Context, products []product, dir, archives string) ([]image.Info, error) {
	if err := os.MkdirAll(archives, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder for archives: %w", err)
	}
	tmp, err := os.MkdirTemp("", "devcluster-project-")
	if err != nil {
		return nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	var infos []image.Info
	for i, p := range products {
		program := filepath.Join(tmp, fmt.Sprint(i))
		if err := compile(ctx, filepath.Join(dir, p.pkg), program, p.toolchain); err != nil {
			return nil, fmt.Errorf("building %s from %s: %w", p.name, p.pkg, err)
		}
		info, err := image.Build(p.spec(program), filepath.Join(archives, p.archive))
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func (p product) spec(program string) image.Spec {
	return image.Spec{
		Names: []string{p.name},
		Files: []image.File{
			image.Program(p.program, program),
			{Path: "/etc/passwd", Data: []byte("nonroot:x:" + user + ":" + user + "::/tmp:/sbin/nologin\n")},
			{Path: "/tmp", Dir: true, Mode: 0o1777},
		},
		Entrypoint: []string{p.program},
		Env:        []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp"},
		User:       user,
		WorkDir:    "/",
	}
}

// compile builds the package of a folder as a static program. The folder is built where it is: it may be a module of its own.
func compile(ctx context.Context, dir, out, toolchain string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOWORK=off")
	if toolchain != "" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+toolchain, "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off")
	}
	var complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &complaint, &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return nil
}
