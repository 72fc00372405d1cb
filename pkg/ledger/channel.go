package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Where the block files of a channel are below the node's "production" directory.
const (
	PeerChains    = "ledgersData/chains/chains"
	OrdererChains = "orderer/chains"
)

const (
	filePrefix   = "blockfile_"
	snapshotFile = "bootstrappingSnapshot.info"
)

// Channel is the directory with the block files of a channel.
type Channel struct {
	Name string
	Dir  string
}

// Channels lists the channels of a peer or an orderer, by name. Root is its "production"
// directory; a node that has joined no channel may not even have that.
func Channels(root string) ([]Channel, error) {
	var all []Channel
	for _, chains := range []string{PeerChains, OrdererChains} {
		dir := filepath.Join(root, filepath.FromSlash(chains))
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing channels: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				all = append(all, Channel{Name: e.Name(), Dir: filepath.Join(dir, e.Name())})
			}
		}
	}
	slices.SortFunc(all, func(a, b Channel) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// Bootstrapped reports whether the peer joined the channel by a snapshot. Its older blocks
// are nowhere on it then, and neither can its state be built from what it has.
func (c Channel) Bootstrapped() (bool, error) {
	_, found, err := c.start()
	return found, err
}

// files are the paths of the block files, by number. Fabric numbers them from 0 without gaps.
func (c Channel) files() ([]string, error) {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("channel %q: %w", c.Name, err)
	}
	found := map[int]bool{}
	last := -1
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), filePrefix)
		if !ok || e.IsDir() {
			continue
		}
		number, err := strconv.Atoi(suffix)
		if err != nil || number < 0 || fileName(number) != e.Name() {
			return nil, &Damage{Channel: c.Name, File: e.Name(), Reason: "no block file has such a name"}
		}
		if !e.Type().IsRegular() {
			return nil, &Damage{Channel: c.Name, File: e.Name(), Reason: "it is not a plain file"}
		}
		found[number] = true
		last = max(last, number)
	}
	var paths []string
	for i := range len(found) {
		if !found[i] {
			return nil, &Damage{Channel: c.Name, File: fileName(i), Reason: fmt.Sprintf("the file is missing; there are others up to %s", fileName(last))}
		}
		paths = append(paths, filepath.Join(c.Dir, fileName(i)))
	}
	return paths, nil
}

func fileName(number int) string { return fmt.Sprintf("%s%06d", filePrefix, number) }
