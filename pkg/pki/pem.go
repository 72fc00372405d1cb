package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pivt.io/pivt/pkg/exit"
)

// certFile is a certificate with the exact bytes of its file, because channels hold those.
type certFile struct {
	path string
	pem  []byte
	cert *x509.Certificate
}

type keyFile struct {
	path   string
	pem    []byte
	signer crypto.Signer
}

// publicKey is what every public key of the standard library is.
type publicKey interface{ Equal(crypto.PublicKey) bool }

func readCert(path string) (*certFile, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, broken(path, errors.New("not a PEM certificate"))
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, broken(path, err)
	}
	return &certFile{path, b, cert}, nil
}

// readCerts reads all certificates of a directory, sorted by file name. Other files, like a
// key beside them, are passed over.
func readCerts(dir string) ([]*certFile, error) {
	paths, err := files(dir)
	if err != nil {
		return nil, err
	}
	var certs []*certFile
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if block, _ := pem.Decode(b); block == nil || block.Type != "CERTIFICATE" {
			continue
		}
		c, err := readCert(path)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// readKey never lets the parser's words out: they could quote the key.
func readKey(path string) (*keyFile, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, broken(path, errors.New("not a PEM private key"))
	}
	var key any
	if block.Type == "EC PRIVATE KEY" {
		key, err = x509.ParseECPrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, broken(path, errors.New("not a private key in PKCS #8"))
	}
	return &keyFile{path, b, signer}, nil
}

// readKeys reads all private keys of a directory. Files that are no PEM at all or hold
// certificates are passed over.
func readKeys(dir string) ([]*keyFile, error) {
	paths, err := files(dir)
	if err != nil {
		return nil, err
	}
	var keys []*keyFile
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if block, _ := pem.Decode(b); block == nil || block.Type == "CERTIFICATE" {
			continue
		}
		k, err := readKey(path)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// keyOf finds the key of a certificate among the keys of dir, or nil: fabric-ca and old
// cryptogens name the file after the key's hash, so its name says nothing.
func keyOf(cert *x509.Certificate, dir string) (*keyFile, error) {
	keys, err := readKeys(dir)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.fits(cert) {
			return k, nil
		}
	}
	return nil, nil
}

func (k *keyFile) fits(cert *x509.Certificate) bool {
	pub, ok := k.signer.Public().(publicKey)
	return ok && pub.Equal(cert.PublicKey)
}

// issuedBy reports whether one of the CAs signed the certificate.
func (c *certFile) issuedBy(cas []*certFile) bool {
	for _, ca := range cas {
		if c.cert.CheckSignatureFrom(ca.cert) == nil {
			return true
		}
	}
	return false
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func broken(path string, err error) error {
	return exit.WithHint(exit.With(fmt.Errorf("%s: %w", path, err), exit.Invalid),
		"restore the file from where the tree came from; nothing was changed in it")
}
