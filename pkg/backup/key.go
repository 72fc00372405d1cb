package backup

import (
	"fmt"
	"regexp"
	"time"

	"pivt.io/pivt/pkg/exit"
)

// keyShape leaves room for what is put before a key in names of jobs and pods.
var keyShape = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// NewKey names a backup after the moment it was asked for, in UTC.
func NewKey(t time.Time) string { return t.UTC().Format("20060102-150405") }

// CheckKey refuses what cannot be a key. Keys are labels and parts of names in Kubernetes.
func CheckKey(key string) error {
	if keyShape.MatchString(key) {
		return nil
	}
	return exit.With(fmt.Errorf("backup key %q: lower case letters, digits and inner dashes are allowed, up to 40 of them", key), exit.Invalid)
}
