package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
)

// credentials are the keys of the Secret, read from its mounted directory.
type credentials struct {
	dir    string
	values map[string]string
}

func readCredentials(dir string) (*credentials, error) {
	c := &credentials{dir: dir, values: map[string]string{}}
	for _, key := range []string{
		backup.CredentialPassword,
		backup.CredentialAccessKeyID, backup.CredentialSecretAccessKey, backup.CredentialSessionToken,
		backup.CredentialStorageKey, backup.CredentialSASToken, backup.CredentialGCSKey,
		backup.CredentialSSHKey, backup.CredentialSSHPassword, backup.CredentialKnownHosts,
		backup.CredentialWebDAVUser, backup.CredentialWebDAVPassword, backup.CredentialCA,
	} {
		b, err := os.ReadFile(filepath.Join(dir, key))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading credentials: %w", err)
		}
		v := string(b)
		if key != backup.CredentialPassword || strings.Count(v, "\n") == 1 {
			// A file made with an editor or with echo ends in a newline nobody meant.
			v = strings.TrimRight(v, "\r\n")
		}
		if v != "" {
			c.values[key] = v
		}
	}
	return c, nil
}

func (c *credentials) get(key string) string { return c.values[key] }

// need returns an error that lists those of keys that are missing.
func (c *credentials) need(keys ...string) error {
	var missing []string
	for _, k := range keys {
		if c.values[k] == "" {
			missing = append(missing, k)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return exit.WithHint(exit.With(
		fmt.Errorf("%w: the Secret with the repository's credentials lacks %s", ErrCredentials, strings.Join(missing, " and ")), exit.Invalid),
		"add the missing keys to the Secret that backup.secretName names")
}

// scrubber returns a function that blanks out every secret in a text, in case a library of a
// storage puts one into an error, as part of a URL for instance.
func (c *credentials) scrubber() func(string) string {
	var secrets []string
	add := func(s string) {
		if len(s) >= 4 { // a shorter one would blank out words
			secrets = append(secrets, s, url.QueryEscape(s), url.PathEscape(s))
		}
	}
	for k, v := range c.values {
		switch k {
		case backup.CredentialKnownHosts, backup.CredentialCA, backup.CredentialWebDAVUser:
			continue
		}
		add(v)
	}
	if q, err := url.ParseQuery(strings.TrimPrefix(c.values[backup.CredentialSASToken], "?")); err == nil {
		add(q.Get("sig"))
	}
	sort.Slice(secrets, func(i, j int) bool { return len(secrets[i]) > len(secrets[j]) })
	pairs := make([]string, 0, 2*len(secrets))
	for _, s := range secrets {
		pairs = append(pairs, s, "***")
	}
	blank := strings.NewReplacer(pairs...)
	return func(s string) string { return blank.Replace(s) }
}
