package repository

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
)

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change func(*testing.T, *place)
		want   error
		code   exit.Code
		text   string
	}{
		"WrongKey": {
			reason: "Somebody changed the Secret.",
			change: func(t *testing.T, p *place) { p.secret(t, backup.CredentialPassword, "wrong password, really") },
			want:   ErrWrongKey, code: exit.Failed, text: "net",
		},
		"NoPassword": {
			reason: "The Secret lacks the key that is always needed.",
			change: func(t *testing.T, p *place) { p.secret(t, backup.CredentialPassword, "") },
			want:   ErrCredentials, code: exit.Invalid, text: "lacks password",
		},
		"NoRepository": {
			reason: "A restore from a wrong prefix must not make a repository there.",
			change: func(t *testing.T, p *place) { p.target.Prefix, p.options.Create = "other/", false },
			want:   ErrNoRepository, code: exit.Failed, text: "repository/other: opening",
		},
		"NoRepositoryInDirectory": {
			reason: "Nor where there is a directory already.",
			change: func(t *testing.T, p *place) {
				p.target.Prefix, p.options.Create = "other/", false
				write(t, filepath.Join(p.disk(), "file"), "")
			},
			want: ErrNoRepository, code: exit.Failed,
		},
		"ReadOnly": {
			reason: "Who only reads makes none either.",
			change: func(t *testing.T, p *place) { p.target.Prefix, p.options.ReadOnly = "other/", true },
			want:   ErrNoRepository, code: exit.Failed,
		},
		"Refused": {
			reason: "Connection refused is worth another try; the workflow makes it.",
			change: func(t *testing.T, p *place) {
				p.target = backup.Target{Type: backup.S3, S3: backup.S3Target{Endpoint: "127.0.0.1:1", Bucket: "backups", HTTP: true}}
				p.secret(t, backup.CredentialAccessKeyID, "AKIAIOSFODNN7EXAMPLE")
				p.secret(t, backup.CredentialSecretAccessKey, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
				p.options.Patience = time.Millisecond
			},
			want: ErrUnreachable, code: exit.TryAgain, text: "s3 127.0.0.1:1/backups",
		},
		"NoS3Keys": {
			reason: "Without keys kopia would go and ask the environment and the cloud.",
			change: func(t *testing.T, p *place) {
				p.target = backup.Target{Type: backup.S3, S3: backup.S3Target{Bucket: "backups"}}
			},
			want: ErrCredentials, code: exit.Invalid, text: "accessKeyId and secretAccessKey",
		},
		"NoHostKeys": {
			reason: "An SSH server that nobody can tell from another gets no data.",
			change: func(t *testing.T, p *place) {
				p.target = backup.Target{Type: backup.SFTP, SFTP: backup.SFTPTarget{Host: "localhost"}}
			},
			want: ErrCredentials, code: exit.Invalid, text: "knownHosts",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.open(t)
			tc.change(t, &p)
			r, err := Open(t.Context(), p.target, p.options)
			if err == nil {
				r.Close(t.Context())
			}
			if !errors.Is(err, tc.want) || exit.CodeOf(err) != tc.code || exit.HintOf(err) == "" || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s\nOpen = %v (code %d, hint %q), want %v, code %d, %q in it", tc.reason, err, exit.CodeOf(err), exit.HintOf(err), tc.want, tc.code, tc.text)
			}
			if s := strings.ToLower(err.Error() + exit.HintOf(err)); strings.Contains(s, "wrong password, really") || strings.Contains(s, "k7mdeng") {
				t.Errorf("the error tells a secret: %v", err)
			}
			if left, _ := os.ReadDir(p.options.Cache); len(left) > 1 { // the open one's
				t.Errorf("left in the cache: %v", left)
			}
		})
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r, err := Open(t.Context(), p.target, p.options)
	if err != nil {
		t.Fatal(err)
	}
	save(t, r, source("k", "peer0"), sample(t), SaveOptions{})
	// Whatever is in the cache while the repository is open.
	err = filepath.WalkDir(p.options.Cache, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(b), "battery staple") {
			t.Errorf("%s holds the password", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if left, err := os.ReadDir(p.options.Cache); err != nil || len(left) != 0 {
		t.Errorf("left in the cache: %v, %v", left, err)
	}
}

// TestScrub has a server repeat the credentials it was sent.
func TestScrub(t *testing.T) {
	t.Parallel()
	const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<Error><Code>SignatureDoesNotMatch</Code><Message>not with `+secret+` nor `+url.QueryEscape(secret)+`</Message></Error>`)
	}))
	t.Cleanup(server.Close)
	p := newPlace(t)
	p.target = backup.Target{Type: backup.S3, S3: backup.S3Target{Endpoint: strings.TrimPrefix(server.URL, "http://"), Bucket: "backups", Region: "us-east-1", HTTP: true}}
	p.secret(t, backup.CredentialAccessKeyID, "AKIAIOSFODNN7EXAMPLE")
	p.secret(t, backup.CredentialSecretAccessKey, secret)
	_, err := Open(t.Context(), p.target, p.options)
	if !errors.Is(err, ErrCredentials) {
		t.Fatalf("Open = %v, want ErrCredentials", err)
	}
	if !strings.Contains(err.Error(), "***") || strings.Contains(err.Error(), "K7MDENG") {
		t.Errorf("Open = %v, want the secret blanked out", err)
	}
}

// TestSilentServer: a server that accepts connections and says nothing, as an address does whose
// pod has gone, is away like one that refuses.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{"password": "p", "accessKeyId": "a", "secretAccessKey": "s"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	target := backup.Target{Type: backup.S3, S3: backup.S3Target{Endpoint: l.Addr().String(), Bucket: "backups", Region: "us-east-1", HTTP: true}}
	_, err = Open(t.Context(), target, Options{Credentials: dir, Cache: t.TempDir(), Patience: 300 * time.Millisecond, attempt: 100 * time.Millisecond})
	if !errors.Is(err, ErrUnreachable) || !exit.IsTransient(err) {
		t.Errorf("got %v, want %v and another try", err, ErrUnreachable)
	}
}
