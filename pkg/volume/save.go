package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/ledger"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/repository"
)

// Kinds of refusals of Save. Both are transient: the copy does not count, the next one may.
var (
	ErrInUse   = errors.New("volume is in use")
	ErrChanged = errors.New("volume changed while it was read")
)

// Save copies a node's volumes into the store and says how far its channels had got. It
// refuses a volume that somebody has open or that changes on the way.
func Save(ctx context.Context, s Store, t SaveTask) (backup.Node, error) {
	n := t.Node
	was, err := inspect(t.Dir)
	if err != nil {
		return n, fmt.Errorf("saving %s: %w", n.Name, err)
	}
	isPeer := n.Kind == string(network.Peer)
	// Fabric cannot build the state of a channel that was joined by snapshot.
	withState := isPeer && (t.Parts.State || was.bootstrapped)
	if isPeer {
		n.WithState = withState
	}
	n.Channels, n.Volumes = was.heads, nil
	for _, volume := range t.Volumes {
		if volume == CouchDB && !withState {
			continue
		}
		v, err := t.save(ctx, s, volume, leftOut(n.Kind, volume, t.Parts, withState))
		if err != nil {
			return n, fmt.Errorf("saving %s: %w", n.Name, err)
		}
		n.Volumes = append(n.Volumes, v)
	}
	n.Copied = t.Now()
	return n, nil
}

// save copies one volume. It is looked at before and afterwards, each time first for somebody
// who has it open, because who has it closed by the second look may have opened it in between,
// but not without leaving a trace.
func (t SaveTask) save(ctx context.Context, s Store, volume string, exclude []string) (backup.Volume, error) {
	dir := filepath.Join(t.Dir, volume)
	if err := isDir(dir); err != nil {
		return backup.Volume{}, fmt.Errorf("volume %s: %w", volume, err)
	}
	if m, found, err := readMarker(dir); err != nil {
		return backup.Volume{}, err
	} else if found && m.Phase.moving() {
		return backup.Volume{}, exit.WithHint(fmt.Errorf("volume %s: the restore of backup %s is not complete", volume, m.Key), "repeat pivt restore "+m.Key)
	}
	prepared, err := segments(dir)
	if err != nil {
		return backup.Volume{}, err
	}
	exclude = append(exclude, prepared...)
	before, err := look(dir, exclude)
	if err != nil {
		return backup.Volume{}, fmt.Errorf("volume %s: %w", volume, err)
	}
	v, err := s.Save(ctx, repository.Source{Network: t.Namespace, Node: t.Node.Name, Volume: volume, Key: t.Key}, dir,
		repository.SaveOptions{Exclude: exclude, Progress: meter(t.Node.Name, volume, "save", t.Progress)})
	if err != nil {
		return v, fmt.Errorf("volume %s: %w", volume, err)
	}
	after, err := look(dir, exclude)
	if err != nil {
		return v, fmt.Errorf("volume %s: %w", volume, err)
	}
	if path, differ := before.differs(after); differ {
		return v, exit.Transient(fmt.Errorf("volume %s: %s: %w", volume, path, ErrChanged))
	}
	v.Name = volume
	return v, nil
}

// Inspect says how far a node's volumes have got; dir has a directory per volume.
func Inspect(dir string) ([]backup.Channel, error) {
	s, err := inspect(dir)
	return s.heads, err
}

// seen is what the block files of a node say.
type seen struct {
	heads        []backup.Channel
	bootstrapped bool // a channel was joined by snapshot
}

func inspect(dir string) (seen, error) {
	if err := isDir(dir); err != nil {
		return seen{}, err
	}
	return inspectRoot(filepath.Join(dir, Data, production))
}

// isDir refuses links as well: nothing is behind one when a tree is walked.
func isDir(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", path)
	}
	return err
}

func inspectRoot(root string) (seen, error) {
	channels, err := ledger.Channels(root)
	if err != nil {
		return seen{}, err
	}
	var s seen
	for _, c := range channels {
		head, err := ledger.Head(c)
		if err != nil {
			return seen{}, err
		}
		by, err := c.Bootstrapped()
		if err != nil {
			return seen{}, err
		}
		s.bootstrapped = s.bootstrapped || by
		// A channel without a block is one that is being joined or removed at the moment.
		if head.Height > 0 {
			s.heads = append(s.heads, head)
		}
	}
	return s, nil
}
