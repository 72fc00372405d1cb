package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pivt.io/pivt/hack/devcluster/image"
	"pivt.io/pivt/hack/devcluster/recipe"
)

const (
	busyboxImage = "docker.io/library/busybox:1.35.0"
	fabricConfig = "/etc/hyperledger/fabric"
)

func coreDNSImage(parts map[string]recipe.Built) string {
	return "docker.io/coredns/coredns:" + strings.TrimPrefix(parts["coredns"].Version, "v")
}

func localPathImage(parts map[string]recipe.Built) string {
	return "docker.io/rancher/local-path-provisioner:" + parts["local-path"].Version
}

// platformImages are what the cluster itself runs, in the order pods need them.
func platformImages(parts map[string]recipe.Built) ([]image.Spec, error) {
	argo := parts["argo"]
	pod := func(name, program string, args ...string) image.Spec {
		inImage := "/usr/local/bin/" + filepath.Base(program)
		return image.Spec{
			Names: []string{name}, Entrypoint: append([]string{inImage}, args...), Env: []string{pathEnv},
			Files: append(accounts(), image.Program(inImage, program)),
		}
	}
	pause := pod(pauseImage, parts["pause"].Bin("pause"))
	pause.User = "65535:65535"
	controller := pod("quay.io/argoproj/workflow-controller:"+argo.Version, argo.Bin("workflow-controller"))
	controller.User = argoUser
	// Argo's default image runs as root. Since the executor must not (see manifests/argo.yaml), a workflow that names no
	// user gets one from the image, as from Argo's own argoexec:…-nonroot.
	executor := pod("quay.io/argoproj/argoexec:"+argo.Version, argo.Bin("argoexec"))
	executor.User = argoUser
	busybox, err := busyboxSpec()
	return []image.Spec{
		pause,
		pod(coreDNSImage(parts), parts["coredns"].Bin("coredns")),
		controller,
		pod(localPathImage(parts), parts["local-path"].Bin("local-path-provisioner")),
		busybox,
		executor,
	}, err
}

// argoUser is the user of Argo's own images that do not run as root.
const argoUser = "8737"

// fabricImages are the images users' networks name, with the same paths, environment and command as the published ones.
func fabricImages(parts map[string]recipe.Built) ([]image.Spec, error) {
	var specs []image.Spec
	for _, version := range fabricVersions {
		part := parts["fabric-"+version]
		sample := part.ShareDir("sampleconfig")
		msp, err := tree(filepath.Join(sample, "msp"), fabricConfig+"/msp")
		if err != nil {
			return nil, err
		}
		for _, node := range []struct {
			name  string
			conf  []string
			start []string
		}{
			{"peer", []string{"core.yaml"}, []string{"peer", "node", "start"}},
			{"orderer", []string{"orderer.yaml", "configtx.yaml"}, []string{"orderer", "start"}},
		} {
			files := append(accounts(), image.Program("/usr/local/bin/"+node.name, part.Bin(node.name)), image.File{Path: "/var/hyperledger", Dir: true})
			files = append(files, msp...)
			for _, conf := range node.conf {
				files = append(files, image.File{Path: path.Join(fabricConfig, conf), Source: filepath.Join(sample, conf)})
			}
			specs = append(specs, image.Spec{
				Names: []string{"docker.io/hyperledger/fabric-" + node.name + ":" + version}, Files: files, Cmd: node.start,
				Env: []string{pathEnv, "FABRIC_CFG_PATH=" + fabricConfig, "FABRIC_VER=" + version},
			})
		}
	}
	return specs, nil
}

// s3Image is an S3 server that keeps buckets as directories of a volume. Backups go there.
func s3Image(parts map[string]recipe.Built) image.Spec {
	part := parts["versitygw"]
	return image.Spec{
		Names: []string{"docker.io/versity/versitygw:" + part.Version}, User: nobodyUser, Env: []string{pathEnv},
		Entrypoint: []string{"/usr/local/bin/versitygw"},
		Files:      append(accounts(), image.Program("/usr/local/bin/versitygw", part.Bin("versitygw"))),
	}
}

// fabricVersions begins with the default.
var fabricVersions = []string{"3.1.1", "2.5.9"}

const pathEnv = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// accounts are the files a static program may still ask for.
func accounts() []image.File {
	return []image.File{
		{Path: "/etc/passwd", Data: []byte("root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n")},
		{Path: "/etc/group", Data: []byte("root:x:0:\nnogroup:x:65534:\n")},
		{Path: "/etc/nsswitch.conf", Data: []byte("hosts: files dns\n")},
		{Path: "/tmp", Dir: true, Mode: 0o1777},
	}
}

func busyboxSpec() (image.Spec, error) {
	list, err := exec.Command(busyboxProgram, "--list").Output()
	if err != nil {
		return image.Spec{}, fmt.Errorf("asking busybox for its commands: %w", err)
	}
	files := append(accounts(), image.Program("/bin/busybox", busyboxProgram))
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			files = append(files, image.File{Path: "/bin/" + name, Link: "busybox"})
		}
	}
	return image.Spec{Names: []string{busyboxImage}, Files: files, Cmd: []string{"sh"}, Env: []string{pathEnv}}, nil
}

// tree lists the files below a directory of this machine, to be placed below another in an image.
func tree(dir, inImage string) ([]image.File, error) {
	var files []image.File
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		files = append(files, image.File{Path: path.Join(inImage, filepath.ToSlash(rel)), Source: file})
		return err
	})
	return files, err
}

// archive is an image on disk, ready to be imported.
type archive struct {
	image.Info
	File string
}

// assemble returns the archives of the images, making those whose content has changed.
func (c *Cluster) assemble(specs []image.Spec) ([]archive, error) {
	if err := os.MkdirAll(c.archives(), 0o755); err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	var all []archive
	for _, s := range specs {
		key, err := imageKey(s)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(c.archives(), strings.NewReplacer("/", "_", ":", "_").Replace(s.Names[0])+"-"+key+".tar")
		info, err := image.Open(file)
		if err != nil {
			if info, err = image.Build(s, file); err != nil {
				return nil, err
			}
		}
		all = append(all, archive{info, file})
	}
	return all, nil
}

// archives is where image archives are kept.
func (l Layout) archives() string { return filepath.Join(l.Cache, "images") }

// imageFormat is part of every key; raise it when package image makes something else of the same spec.
const imageFormat = "1"

// imageKey identifies what goes into an image. Files on disk count by path, size and time: the paths of built parts
// contain the hash of their content, and only busybox comes from elsewhere.
func imageKey(s image.Spec) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%q %q %q %q %q %q %q\n", imageFormat, s.Names, s.Base, s.Entrypoint, s.Cmd, s.Env, s.User, s.WorkDir)
	for _, f := range s.Files {
		fmt.Fprintf(h, "%q %o %q %q %v", f.Path, f.Mode, f.Source, f.Link, f.Dir)
		if f.Source != "" {
			info, err := os.Stat(f.Source)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, " %d %d", info.Size(), info.ModTime().UnixNano())
		}
		fmt.Fprintf(h, " %d\n", len(f.Data))
		h.Write(f.Data)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// importImages gives containerd the archives it does not have yet and returns how many those were.
func (c *Cluster) importImages(ctx context.Context, archives []archive) (int, error) {
	out, err := c.ctr(ctx, "images", "list")
	if err != nil {
		return 0, err
	}
	have := imported(out)
	var n int
	for _, a := range archives {
		if !slices.ContainsFunc(a.Names, func(name string) bool { return have[name] != a.Digest }) {
			continue
		}
		if _, err := c.ctr(ctx, "images", "import", a.File); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// imported reads `ctr images list`: a heading, then name, type and digest in columns.
func imported(list string) map[string]string {
	digests := map[string]string{}
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[2], "sha256:") {
			digests[f[0]] = f[2]
		}
	}
	return digests
}

// ctr runs containerd's own client against our containerd and the kubelet's images.
func (c *Cluster) ctr(ctx context.Context, args ...string) (string, error) {
	program, err := lookTool("ctr")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"--address", c.containerdSocket(), "--namespace", "k8s.io"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, lastLine(stderr.String()))
	}
	return stdout.String(), nil
}
