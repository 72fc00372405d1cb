package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pivt.io/pivt/pkg/backup"
)

// What Restore keeps on a volume until Finish.
const (
	stateDir    = ".pivt"
	stateFile   = "state.json" // marker
	restoredDir = "restored"   // new data until they are in place, or again after Undo
	replacedDir = "replaced"   // old data
)

// phase is what is being done with a volume. Each is written down before it begins.
type phase string

const (
	filling   phase = "filling"   // new data are being written; old ones are in place
	filled    phase = "filled"    // new data are complete
	parting   phase = "parting"   // what lies on the volume is old and moves to replaced
	placing   phase = "placing"   // what lies on the volume is new and comes from restored
	restored  phase = "restored"  // new data are in place
	finishing phase = "finishing" // old data are being removed
	leaving   phase = "leaving"   // what lies on the volume is new and moves to restored: undoing
	returning phase = "returning" // what lies on the volume is old and comes from replaced
)

// moving reports whether neither old nor new data are in place as a whole.
func (p phase) moving() bool {
	return p == parting || p == placing || p == leaving || p == returning
}

// marker is what a volume says about itself.
type marker struct {
	Key   string `json:"key"` // of the backup
	Phase phase  `json:"phase"`
	// Source tells one restore from another, also of the same key.
	Source string `json:"source"`
	// Gone says that the old data were removed before the new were there.
	Gone bool `json:"gone,omitempty"`
	// Channels are those of the new data when they got into place. A node that has run since
	// has others.
	Channels []backup.Channel `json:"channels,omitempty"`
}

func readMarker(volume string) (marker, bool, error) {
	path := filepath.Join(volume, stateDir, stateFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return marker{}, false, nil
	}
	if err != nil {
		return marker{}, false, err
	}
	var m marker
	if err := json.Unmarshal(data, &m); err != nil {
		return m, false, fmt.Errorf("%s: %w", path, err)
	}
	return m, true, nil
}

// disk is how volumes are written to; the zero value is what is used outside of tests.
type disk struct {
	step     func(what string) error // called before each change
	unsynced bool                    // leave the flushing to the kernel
	space    func(dir string) (int64, error)
}

func (d disk) free(dir string) (int64, error) {
	if d.space == nil {
		return free(dir)
	}
	return d.space(dir)
}

func (d disk) before(what string) error {
	if d.step == nil {
		return nil
	}
	return d.step(what)
}

func (d disk) syncDir(dir string) error {
	if d.unsynced {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	// Some file systems cannot sync a directory; they order renames themselves.
	_ = f.Sync()
	return f.Close()
}

func (d disk) write(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil || d.unsynced {
		return err
	}
	return f.Sync()
}

// mark writes a marker so that it is there as a whole or not at all, also after the power
// failed.
func (v *swap) mark(m marker) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := v.mkdir(v.path(stateDir)); err != nil {
		return err
	}
	file := v.path(stateDir, stateFile)
	if err := v.disk.before("write " + string(m.Phase)); err != nil {
		return err
	}
	if err := v.disk.write(file+".new", data); err != nil {
		return err
	}
	if err := v.disk.before("mark " + string(m.Phase)); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	v.marker, v.found = m, true
	return v.disk.syncDir(v.path(stateDir))
}
