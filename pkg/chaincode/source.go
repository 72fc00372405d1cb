package chaincode

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

const (
	// MaxPackage is the largest package that reaches a peer: its server takes messages of up
	// to 100 MiB, and the package comes in a signed proposal.
	MaxPackage = 99 << 20
	// maxTree is how much source is read before it is compressed.
	maxTree  = 512 << 20
	maxFiles = 200_000
	maxName  = 255 // bytes of one file name on the file systems of peers
)

// PackageSource makes the package of a chaincode given as a source directory, which root is.
// The bytes depend on the names and contents of the files that are not ignored, and on
// nothing else: not on time, user, file modes or machine. So everybody who has the same
// source has the same package id.
//
// The package has the shape that "peer lifecycle chaincode package" gives it: the source below
// src/, the database indexes below META-INF/. Files are never executable in it, as with Fabric.
func PackageSource(cc *network.Chaincode, root fs.FS) ([]byte, error) {
	t := tree{cc: cc, root: root, limit: MaxPackage}
	pkg, err := t.pack()
	if err != nil {
		return nil, fmt.Errorf("packaging chaincode %q: %w", cc.Name, err)
	}
	return pkg, nil
}

// tree is a source directory on its way into a package.
type tree struct {
	cc      *network.Chaincode
	root    fs.FS
	ignored ignorer
	files   []string // what is packaged, by its path in the source
	dirs    map[string]bool
	size    int64
	limit   int // of the package
}

// refuse says what is wrong with a file of the source; repeating will not help.
func (t *tree) refuse(name, format string, args ...any) error {
	return exit.With(fmt.Errorf("%s: %s", t.place(name), fmt.Sprintf(format, args...)), exit.Invalid)
}

// place is a file's name as the user can find it.
func (t *tree) place(name string) string {
	if name == "." {
		return t.cc.Source
	}
	return strings.TrimSuffix(t.cc.Source, "/") + "/" + name
}

func (t *tree) pack() ([]byte, error) {
	if t.cc.Source == "" {
		return nil, exit.With(errors.New("it has no source"), exit.Invalid)
	}
	ignores, ok := languageIgnores[t.cc.Language]
	if !ok {
		return nil, exit.With(fmt.Errorf("language %q is not golang, node or java", t.cc.Language), exit.Invalid)
	}
	if err := t.readIgnores(ignores); err != nil {
		return nil, err
	}
	if err := t.list(); err != nil {
		return nil, err
	}
	l, err := t.layout()
	if err != nil {
		return nil, err
	}
	code, err := t.code(l)
	if err != nil {
		return nil, err
	}
	pkg, err := archive(
		file{metadataFile, Metadata{Path: l.path, Type: t.cc.Language, Label: t.cc.Label()}},
		file{codeFile, compress(code)},
	)
	if err == nil && len(pkg) > t.limit {
		return nil, t.tooLarge(int64(len(pkg)), int64(t.limit), "the package has")
	}
	return pkg, err
}

func (t *tree) readIgnores(language string) error {
	for _, text := range []string{defaultIgnores, language} {
		if err := t.ignored.add("", text); err != nil {
			return err
		}
	}
	data, err := fs.ReadFile(t.root, ignoreFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := t.ignored.add(t.place(ignoreFile), string(data)); err != nil {
		return exit.With(err, exit.Invalid)
	}
	return nil
}

// list finds the files to package.
func (t *tree) list() error {
	t.dirs = map[string]bool{".": true}
	err := fs.WalkDir(t.root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == ".":
			return t.refuse(name, "there is no such directory; source is relative to the file that names it")
		case err != nil:
			return err
		case name == "." && !d.IsDir():
			return t.refuse(name, "source must name a directory")
		case name == ".":
			return nil
		case t.ignored.ignores(name, d.IsDir()) && d.IsDir():
			return fs.SkipDir
		case t.ignored.ignores(name, d.IsDir()):
			return nil
		}
		if err := t.checkName(name); err != nil {
			return err
		}
		switch d.Type() {
		case fs.ModeDir:
			t.dirs[name] = true
			return nil
		case fs.ModeSymlink:
			return t.refuse(name, "is a symbolic link, and Fabric installs no package that has one; put what it points to in its place, or list it in %s", ignoreFile)
		case 0:
		default:
			return t.refuse(name, "is neither a file nor a directory; list it in %s", ignoreFile)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		t.files = append(t.files, name)
		if t.size += info.Size(); t.size > maxTree {
			return t.tooLarge(t.size, maxTree, "the files have at least")
		}
		if len(t.files) > maxFiles {
			return t.refuse(".", "there are more than %d files; list what the build does not need in %s", maxFiles, ignoreFile)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(t.files) == 0 {
		return t.refuse(".", "there is nothing in it to package")
	}
	return nil
}

func (t *tree) checkName(name string) error {
	base := path.Base(name)
	switch {
	case !utf8.ValidString(base), strings.ContainsFunc(base, unicode.IsControl):
		return t.refuse(path.Dir(name), "file name %q has characters that do not travel; rename it, or list it in %s", base, ignoreFile)
	case len(base) > maxName:
		return t.refuse(path.Dir(name), "file name %q is longer than %d bytes; shorten it", base, maxName)
	}
	return nil
}

// tooLarge names the largest part, since that is where to cut.
func (t *tree) tooLarge(size, limit int64, what string) error {
	parts := map[string]int64{}
	largest := ""
	for _, name := range t.files {
		part, _, _ := strings.Cut(name, "/")
		if info, err := fs.Stat(t.root, name); err == nil {
			parts[part] += info.Size()
		}
		if largest == "" || parts[part] > parts[largest] {
			largest = part
		}
	}
	return t.refuse(".", "%s %.0f MiB, and the limit is %d; the largest part is %s with %.0f MiB: list what the build does not need in %s",
		what, float64(size)/(1<<20), limit>>20, largest, float64(parts[largest])/(1<<20), ignoreFile)
}

// has reports whether a file is packaged.
func (t *tree) has(name string) bool {
	i := sort.SearchStrings(t.files, name)
	return i < len(t.files) && t.files[i] == name
}

func (t *tree) read(name string) ([]byte, error) {
	data, err := fs.ReadFile(t.root, name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", t.place(name), err)
	}
	return data, nil
}

// code makes the archive of the files, in the order of their names in it.
func (t *tree) code(l layout) ([]byte, error) {
	type entry struct{ name, from string } // from is empty for a directory
	var all []entry
	dirs := map[string]bool{}
	for _, from := range t.files {
		name := l.name(from)
		if name == "" {
			continue
		}
		all = append(all, entry{name, from})
		// Fabric's packages name directories for Go, so that the build's user owns them, and
		// would not take them for the other languages.
		for dir := path.Dir(name); l.directories && dir != "." && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
			all = append(all, entry{dir + "/", ""})
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	var buf bytes.Buffer
	buf.Grow(int(t.size) + len(all)*1024)
	w := tar.NewWriter(&buf)
	for _, e := range all {
		if e.from == "" {
			if err := writeEntry(w, e.name, nil); err != nil {
				return nil, fmt.Errorf("%s: %w", e.name, err)
			}
			continue
		}
		data, err := t.read(e.from)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(e.name, metaDir+"/") {
			if err := t.checkIndex(e.from, e.name, data); err != nil {
				return nil, err
			}
		}
		if err := writeEntry(w, e.name, data); err != nil {
			return nil, fmt.Errorf("%s: %w", t.place(e.from), err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// writeEntry writes a file, or a directory if the name ends with a slash, as Fabric's command
// line would, but for the date: no tool has trouble with 1980.
func writeEntry(w *tar.Writer, name string, data []byte) error {
	const builder = 500 // user and group of Fabric's builder image
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o100644, Uid: builder, Gid: builder,
		ModTime: time.Unix(315532800, 0), Format: tar.FormatUSTAR}
	if strings.HasSuffix(name, "/") {
		h.Typeflag, h.Mode = tar.TypeDir, 0o040755
	}
	if err := w.WriteHeader(h); err != nil {
		h.Format = tar.FormatPAX // a long name, or one in another script
		if err := w.WriteHeader(h); err != nil {
			return err
		}
	}
	_, err := w.Write(data)
	return err
}
