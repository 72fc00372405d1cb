package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// authority is a CA or TLS CA. Its key may be elsewhere, which matters only once something
// has to be issued.
type authority struct {
	dir    string
	what   string // "CA", "TLS CA"
	certs  []*certFile
	issuer *certFile
	key    *keyFile // nil if it is not in dir
}

// roots is what an organisation's certificates come from.
type roots struct {
	org       *network.Org
	ca, tlsCA *authority
}

// authority finds a CA, or makes it for an organisation that has nothing yet. Trees whose CAs
// are kept elsewhere have the certificate in the verifying MSP only.
func (e *ensurer) authority(o *network.Org, dir, mspFolder, what, commonName string) (*authority, error) {
	a := &authority{dir: dir, what: what}
	own, err := readCerts(dir)
	if err != nil {
		return nil, err
	}
	keys, err := readKeys(dir)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if e.disk.protect(k.path) {
			e.changed(k.path, "closed to other users")
		}
	}
	a.find(own, keys)
	msp, err := readCerts(filepath.Join(e.tree.MSPDir(o), mspFolder))
	if err != nil {
		return nil, err
	}
	if a.issuer == nil && len(msp) > 0 {
		a.issuer = msp[0]
		a.find(msp, keys)
	}
	if a.issuer != nil {
		a.certs = []*certFile{a.issuer}
		if len(msp) > 0 {
			a.certs = append(msp, a.issuer)
		}
		return a, nil
	}
	other, err := e.certElsewhere(o)
	if err != nil {
		return nil, err
	}
	if other != "" {
		return nil, exit.WithHint(
			exit.With(fmt.Errorf("the %s certificate is in neither %s nor %s, yet %s exists",
				what, dir, filepath.Join(e.tree.MSPDir(o), mspFolder), other), exit.Invalid),
			"put the certificate back; a new CA would not fit what is there")
	}
	return a, e.newAuthority(o, a, keys, commonName)
}

// find picks the certificate that can issue: one whose key is there, else the first CA.
func (a *authority) find(certs []*certFile, keys []*keyFile) {
	for _, c := range certs {
		if !c.cert.IsCA {
			continue
		}
		if a.issuer == nil {
			a.issuer = c
		}
		for _, k := range keys {
			if k.fits(c.cert) {
				a.issuer, a.key = c, k
				return
			}
		}
	}
}

func (e *ensurer) newAuthority(o *network.Org, a *authority, keys []*keyFile, commonName string) error {
	key, err := e.newKeyFile(filepath.Join(a.dir, "priv_sk"), keys)
	if err != nil {
		return err
	}
	cert, err := newCA(o, commonName, key.signer, e.now)
	if err != nil {
		return err
	}
	path := filepath.Join(a.dir, commonName+"-cert.pem")
	if err := e.disk.write(path, cert, publicFile); err != nil {
		return err
	}
	if a.issuer, err = readCert(path); err != nil {
		return err
	}
	a.key, a.certs = key, []*certFile{a.issuer}
	e.changed(a.dir, "%s created", a.what)
	return nil
}

// newKeyFile writes a new key, unless a run that was killed before it wrote the
// certificate left one: keys holds what is there.
func (e *ensurer) newKeyFile(path string, keys []*keyFile) (*keyFile, error) {
	if len(keys) > 0 {
		return keys[0], nil
	}
	if there, err := exists(path); err != nil {
		return nil, err
	} else if there {
		// readKeys passed it over, so it is no key; it may have been one.
		return nil, broken(path, errors.New("not a PEM private key"))
	}
	signer, b, err := newKey()
	if err != nil {
		return nil, err
	}
	if err := e.disk.write(path, b, privateFile); err != nil {
		return nil, err
	}
	return &keyFile{path, b, signer}, nil
}

// certElsewhere finds a certificate of the organisation outside its CA directories, or "".
func (e *ensurer) certElsewhere(o *network.Org) (string, error) {
	root, found := e.tree.OrgDir(o), ""
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path == root {
				return fs.SkipAll // the organisation is new
			}
			return err
		}
		if d.IsDir() {
			if path == e.tree.CADir(o) || path == e.tree.TLSCADir(o) {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".pem") || strings.HasSuffix(path, ".crt") {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	return found, err
}

// canIssue says why not, if the CA's key is not at hand.
func (a *authority) canIssue(commonName, path string) error {
	if a.key != nil {
		return nil
	}
	return exit.WithHint(
		exit.With(fmt.Errorf("%s needs a certificate of %q, and the private key of %s is not in %s",
			commonName, a.issuer.cert.Subject.CommonName, a.issuer.path, a.dir), exit.Invalid),
		fmt.Sprintf("put the %s's key there for this run, or have the certificate issued elsewhere and save it as %s", a.what, path))
}
