package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
)

// imageFile is what a package of type k8s is about. Name and content are
// fabric-builder-k8s's, so that its packages install here unchanged.
const imageFile = "image.json"

type image struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

func (i image) String() string { return i.Name + "@" + i.Digest }

var (
	// The grammar of github.com/distribution/reference: host with optional port, path, and
	// a tag that the digest overrules.
	imageName   = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[\w][\w.-]{0,127})?$`)
	imageDigest = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
)

func readImage(path string) (image, error) {
	var i image
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return i, fmt.Errorf("%s is missing; a package of type %s names its image there", imageFile, kindImage)
	}
	if err != nil {
		return i, err
	}
	if err := json.Unmarshal(data, &i); err != nil {
		return i, fmt.Errorf("%s: %w", imageFile, err)
	}
	if !imageName.MatchString(i.Name) {
		return i, fmt.Errorf("%s: name %q is not the name of an image", imageFile, i.Name)
	}
	if !imageDigest.MatchString(i.Digest) {
		return i, fmt.Errorf("%s: digest %q is not sha256:<64 hexadecimal digits>", imageFile, i.Digest)
	}
	return i, nil
}
