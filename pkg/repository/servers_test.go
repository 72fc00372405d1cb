package repository

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/net/webdav"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
)

// comesBack saves to p and restores from it.
func comesBack(t *testing.T, p place) {
	t.Helper()
	r := p.open(t)
	dir := sample(t)
	v := save(t, r, source("k", "peer0"), dir, SaveOptions{})
	to := t.TempDir()
	if err := p.open(t).Restore(t.Context(), v.Snapshot, "", to, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	want := listing(t, dir)
	delete(want, "lost+found")
	delete(want, "lost+found/1")
	if diff := cmp.Diff(want, listing(t, to)); diff != "" {
		t.Errorf("-want, +got:\n%.1000s", diff)
	}
}

// refused opens p and wants an error of a kind, with a hint and without a secret.
func refused(t *testing.T, p place, want error, secret string) {
	t.Helper()
	r, err := Open(t.Context(), p.target, p.options)
	if err == nil {
		r.Close(t.Context())
	}
	if !errors.Is(err, want) || exit.HintOf(err) == "" || strings.Contains(err.Error(), secret) {
		t.Errorf("Open = %v, want %v", err, want)
	}
}

func TestWebDAV(t *testing.T) {
	t.Parallel()
	const password = "webdav-password"
	files := &webdav.Handler{FileSystem: webdav.Dir(t.TempDir()), LockSystem: webdav.NewMemLS()}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != "backup" || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="files"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	newPlace := func(t *testing.T) place {
		p := newPlace(t)
		p.target = backup.Target{Type: backup.WebDAV, Prefix: "net/", WebDAV: backup.WebDAVTarget{URL: server.URL}}
		p.secret(t, backup.CredentialWebDAVUser, "backup")
		p.secret(t, backup.CredentialWebDAVPassword, password)
		p.secret(t, backup.CredentialCA, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
		return p
	}
	comesBack(t, newPlace(t))
	t.Run("Password", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t)
		p.secret(t, backup.CredentialWebDAVPassword, "not the password")
		refused(t, p, ErrCredentials, "not the password")
	})
	t.Run("UnknownCA", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t)
		p.secret(t, backup.CredentialCA, "")
		refused(t, p, ErrCredentials, password)
	})
}

func TestSFTP(t *testing.T) {
	t.Parallel()
	const password = "ssh-password"
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		t.Fatal(err)
	}
	_, clientKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client, err := ssh.NewSignerFromKey(clientKey)
	if err != nil {
		t.Fatal(err)
	}
	address := serveSFTP(t, signer, client.PublicKey(), password)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	newPlace := func(t *testing.T) place {
		p := newPlace(t)
		p.target = backup.Target{Type: backup.SFTP, Prefix: "net/", SFTP: backup.SFTPTarget{Host: host, Port: n, User: "backup", Path: root}}
		p.secret(t, backup.CredentialKnownHosts, knownhosts.Line([]string{knownhosts.Normalize(address)}, signer.PublicKey()))
		p.secret(t, backup.CredentialSSHPassword, password)
		return p
	}
	comesBack(t, newPlace(t))
	t.Run("Key", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t)
		block, err := ssh.MarshalPrivateKey(clientKey, "")
		if err != nil {
			t.Fatal(err)
		}
		p.secret(t, backup.CredentialSSHPassword, "")
		p.secret(t, backup.CredentialSSHKey, string(pem.EncodeToMemory(block)))
		if list, err := p.open(t).List(t.Context()); err != nil || len(list) != 1 {
			t.Errorf("List = %v, %v, want what the other login saved", list, err)
		}
	})
	t.Run("Password", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t)
		p.secret(t, backup.CredentialSSHPassword, "not the password")
		refused(t, p, ErrCredentials, "not the password")
	})
	t.Run("AnotherHost", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t)
		p.secret(t, backup.CredentialKnownHosts, knownhosts.Line([]string{knownhosts.Normalize(address)}, client.PublicKey()))
		refused(t, p, ErrCredentials, password)
	})
	t.Run("NotThere", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t)
		p.target.SFTP.Port, p.options.Patience = 1, time.Millisecond
		refused(t, p, ErrUnreachable, password)
	})
}

// serveSFTP is an SSH server with nothing but files.
func serveSFTP(t *testing.T, hostKey ssh.Signer, user ssh.PublicKey, password string) string {
	t.Helper()
	config := &ssh.ServerConfig{
		PasswordCallback: func(_ ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
			if string(p) != password {
				return nil, errors.New("no")
			}
			return nil, nil
		},
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) != string(user.Marshal()) {
				return nil, errors.New("no")
			}
			return nil, nil
		},
	}
	config.AddHostKey(hostKey)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, channels, requests, err := ssh.NewServerConn(c, config)
				if err != nil {
					return
				}
				go ssh.DiscardRequests(requests)
				for ch := range channels {
					channel, requests, err := ch.Accept()
					if err != nil {
						return
					}
					go func() {
						for r := range requests {
							_ = r.Reply(r.Type == "subsystem", nil)
						}
					}()
					s, err := sftp.NewServer(channel)
					if err != nil {
						return
					}
					go func() {
						_ = s.Serve()
						_ = channel.Close() // the client waits for it
					}()
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestStorageNotAsked(t *testing.T) {
	t.Parallel()
	for _, typ := range []backup.TargetType{"", "tape"} {
		p := newPlace(t)
		p.target.Type = typ
		if _, err := Open(t.Context(), p.target, p.options); exit.CodeOf(err) != exit.Invalid {
			t.Errorf("Open of type %q = %v, want an invalid setting", typ, err)
		}
	}
}
