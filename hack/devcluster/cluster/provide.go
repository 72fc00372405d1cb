package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pivt.io/pivt/hack/devcluster/image"
)

func replaceLink(target, dir, name string) error {
	if now, err := os.Readlink(filepath.Join(dir, name)); err == nil && now == target {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(dir, ".new-"+name)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, name))
}

// provide assembles images and imports those containerd does not have.
func (c *Cluster) provide(ctx context.Context, whose string, specs []image.Spec) error {
	done := c.phase(fmt.Sprintf("%d images of %s are there", len(specs), whose))
	archives, err := c.assemble(specs)
	if err != nil {
		return err
	}
	if _, err := c.importImages(ctx, archives); err != nil {
		return err
	}
	done()
	return nil
}

// Images assembles every image of the cluster that has changed, those of a project too if one is given, and prints all
// with digest, size and archive. A running cluster gets those it lacks; without one the archives are for others to load.
func (c *Cluster) Images(ctx context.Context, project Project) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if project.Builders {
		if err := c.installMissing(ctx, builderTools); err != nil {
			return err
		}
	}
	parts, err := c.parts(ctx)
	if err != nil {
		return err
	}
	specs, err := platformImages(parts)
	if err != nil {
		return err
	}
	fabric, err := fabricImages(parts)
	if err != nil {
		return err
	}
	specs = append(append(specs, fabric...), s3Image(parts))
	var broken error
	if project.Dir != "" {
		var own []image.Spec
		own, broken = c.projectImages(ctx, project)
		specs = append(specs, own...)
	}
	archives, err := c.assemble(specs)
	if err != nil {
		return err
	}
	if c.claimed() && c.dead() == nil {
		n, err := c.importImages(ctx, archives)
		if err != nil {
			return err
		}
		c.say("%d of %d images imported, the others were there", n, len(archives))
	}
	for _, a := range archives {
		c.say("%-52s %6.1f MB  %s", a.Names[0], float64(a.Size)/1e6, a.ByDigest())
	}
	return broken
}

// Busybox is the image for checks that need a shell.
func (c *Cluster) Busybox() (image.Info, error) {
	s, err := busyboxSpec()
	if err != nil {
		return image.Info{}, err
	}
	archives, err := c.assemble([]image.Spec{s})
	if err != nil {
		return image.Info{}, err
	}
	return archives[0].Info, nil
}
