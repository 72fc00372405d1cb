package repository

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/azure"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/repo/blob/gcs"
	"github.com/kopia/kopia/repo/blob/s3"
	"github.com/kopia/kopia/repo/blob/sftp"
	"github.com/kopia/kopia/repo/blob/webdav"
	"github.com/studio-b12/gowebdav"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
)

// describe names a target for people: never with a credential.
func describe(t backup.Target, dir string) string {
	at := func(what string, parts ...string) string { return what + " " + path.Join(append(parts, t.Prefix)...) }
	switch t.Type {
	case backup.S3:
		return at("s3", s3Endpoint(t), t.S3.Bucket)
	case backup.Azure:
		return at("azure", t.Azure.Account, t.Azure.Container)
	case backup.GCS:
		return at("gcs", t.GCS.Bucket)
	case backup.SFTP:
		return "sftp " + t.SFTP.Host + ":" + path.Join(t.SFTP.Path, t.Prefix)
	case backup.WebDAV:
		u, err := url.Parse(t.WebDAV.URL)
		if err != nil {
			return "webdav"
		}
		u.User = nil
		return "webdav " + strings.TrimSuffix(u.String(), "/") + "/" + t.Prefix
	case backup.PVC:
		if t.PVC.ClaimName == "" {
			return filepath.Join(dir, t.Prefix)
		}
		return at("claim", t.PVC.ClaimName)
	}
	return string(t.Type)
}

func s3Endpoint(t backup.Target) string {
	if t.S3.Endpoint == "" {
		return "s3.amazonaws.com"
	}
	return t.S3.Endpoint
}

// connect makes kopia's storage for a target. It may already talk to it.
func connect(ctx context.Context, t backup.Target, c *credentials, o Options) (blob.Storage, error) {
	switch t.Type {
	case backup.S3:
		// Without keys kopia would ask the environment and the cloud's metadata service.
		if err := c.need(backup.CredentialAccessKeyID, backup.CredentialSecretAccessKey); err != nil {
			return nil, err
		}
		if _, err := pool(c.get(backup.CredentialCA)); err != nil {
			return nil, err
		}
		return s3.New(ctx, &s3.Options{
			BucketName: t.S3.Bucket, Prefix: t.Prefix, Endpoint: s3Endpoint(t), Region: t.S3.Region, DoNotUseTLS: t.S3.HTTP,
			RootCA:      []byte(c.get(backup.CredentialCA)),
			AccessKeyID: c.get(backup.CredentialAccessKeyID), SecretAccessKey: c.get(backup.CredentialSecretAccessKey),
			SessionToken: c.get(backup.CredentialSessionToken),
		}, o.Create)
	case backup.Azure:
		if c.get(backup.CredentialSASToken) == "" {
			if err := c.need(backup.CredentialStorageKey); err != nil {
				return nil, err
			}
		}
		return azure.New(ctx, &azure.Options{
			Container: t.Azure.Container, Prefix: t.Prefix, StorageAccount: t.Azure.Account, StorageDomain: t.Azure.Domain,
			StorageKey: c.get(backup.CredentialStorageKey), SASToken: strings.TrimPrefix(c.get(backup.CredentialSASToken), "?"),
		}, o.Create)
	case backup.GCS:
		if err := c.need(backup.CredentialGCSKey); err != nil {
			return nil, err
		}
		// The client renews its tokens with this context as long as it lives.
		return gcs.New(context.WithoutCancel(ctx), &gcs.Options{
			BucketName: t.GCS.Bucket, Prefix: t.Prefix, ReadOnly: o.ReadOnly,
			ServiceAccountCredentialJSON: json.RawMessage(c.get(backup.CredentialGCSKey)),
		}, o.Create)
	case backup.SFTP:
		if err := c.need(backup.CredentialKnownHosts); err != nil {
			return nil, err
		}
		if c.get(backup.CredentialSSHPassword) == "" {
			if err := c.need(backup.CredentialSSHKey); err != nil {
				return nil, err
			}
		}
		port := t.SFTP.Port
		if port == 0 {
			port = 22
		}
		return sftp.New(ctx, &sftp.Options{
			Path: path.Join(t.SFTP.Path, t.Prefix), Host: t.SFTP.Host, Port: port, Username: t.SFTP.User,
			Password: c.get(backup.CredentialSSHPassword), KeyData: newline(c.get(backup.CredentialSSHKey)),
			KnownHostsData: newline(c.get(backup.CredentialKnownHosts)),
		}, o.Create)
	case backup.WebDAV:
		return connectWebDAV(ctx, t, c, o)
	case backup.PVC:
		return filesystem.New(ctx, &filesystem.Options{Path: filepath.Join(o.Dir, filepath.FromSlash(t.Prefix))}, o.Create)
	}
	return nil, exit.With(fmt.Errorf("backup.target.type %q is none of s3, azure, gcs, sftp, webdav, pvc", t.Type), exit.Invalid)
}

// newline ends a text with one: ssh's file formats want it.
func newline(s string) string {
	if s == "" {
		return ""
	}
	return s + "\n"
}

func connectWebDAV(ctx context.Context, t backup.Target, c *credentials, o Options) (blob.Storage, error) {
	base, err := url.Parse(strings.TrimSuffix(t.WebDAV.URL, "/"))
	if err != nil || base.Host == "" {
		return nil, exit.With(errors.New("backup.target.webdav.url: not a URL with a host"), exit.Invalid)
	}
	trust, err := pool(c.get(backup.CredentialCA))
	if err != nil {
		return nil, err
	}
	user, password := c.get(backup.CredentialWebDAVUser), c.get(backup.CredentialWebDAVPassword)
	if o.Create && t.Prefix != "" {
		// kopia makes directories below the one it is given, not that one.
		cli := gowebdav.NewClient(base.String(), user, password)
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}
		cli.SetTransport(transport)
		defer transport.CloseIdleConnections()
		if err := cli.MkdirAll("/"+strings.Trim(t.Prefix, "/"), 0o700); err != nil {
			return nil, err
		}
	}
	leaf := ""
	if trust != nil && base.Scheme == "https" {
		if leaf, err = fingerprint(ctx, base, trust); err != nil {
			return nil, err
		}
	}
	return webdav.New(ctx, &webdav.Options{
		URL:      strings.TrimSuffix(base.String()+"/"+t.Prefix, "/"),
		Username: user, Password: password, TrustedServerCertificateFingerprint: leaf,
	}, o.Create)
}

// pool holds the certificates of a private CA; nil if there is none.
func pool(ca string) (*x509.CertPool, error) {
	if ca == "" {
		return nil, nil
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM([]byte(ca)) {
		return nil, fmt.Errorf("%w: key %s of the Secret holds no PEM certificate", ErrCredentials, backup.CredentialCA)
	}
	return p, nil
}

// fingerprint asks a server for its certificate and checks it against a private CA. kopia has
// no setting for a CA with WebDAV, but one for the only certificate to trust.
func fingerprint(ctx context.Context, u *url.URL, roots *x509.CertPool) (string, error) {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	d := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	leaf := sha256.Sum256(conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw)
	return hex.EncodeToString(leaf[:]), nil
}
