package runtimetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Org is an organisation's TLS authority.
type Org struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// NewOrg makes an authority that lives as long as the test.
func NewOrg(t testing.TB) *Org {
	t.Helper()
	o := &Org{t: t, file: filepath.Join(t.TempDir(), "ca.crt")}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "tlsca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	der, o.key = o.sign(template, nil)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	o.cert = cert
	o.write(o.file, "CERTIFICATE", der)
	return o
}

// Peer issues a peer's TLS certificate and returns the files of it, its key and the
// authority.
func (o *Org) Peer(node string) (cert, key, roots string) {
	o.t.Helper()
	der, private := o.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: node}, DNSNames: []string{node},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, o.cert)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		o.t.Fatal(err)
	}
	dir := o.t.TempDir()
	cert, key = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	o.write(cert, "CERTIFICATE", der)
	o.write(key, "PRIVATE KEY", pkcs8)
	return cert, key, o.file
}

func (o *Org) sign(template, parent *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	o.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		o.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	signer := o.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		o.t.Fatal(err)
	}
	return der, key
}

func (o *Org) write(path, kind string, der []byte) {
	o.t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		o.t.Fatal(err)
	}
}
