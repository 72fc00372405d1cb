package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// tlsWant describes the pair that a tls directory must hold.
type tlsWant struct {
	file       string // "server" or "client"
	commonName string
	service    string // the one of sans that nothing works without
	sans       []string
	pinnedBy   string // a BFT channel that compares the certificate byte by byte
}

// serverNames are the names a node's TLS certificate must carry: cryptogen's, and the
// Service by which everything inside the namespace reaches it.
func serverNames(n *network.Node) []string {
	return append([]string{n.CommonName, n.Hostname, n.Name()}, n.SANS...)
}

// localNames let people use a port-forward. A certificate without them is good enough.
func localNames() []string { return []string{"localhost", "127.0.0.1"} }

func (e *ensurer) tls(dir string, r *roots, want tlsWant) (outcome, error) {
	did := unchanged
	keyPath := filepath.Join(dir, want.file+".key")
	certPath := filepath.Join(dir, want.file+".crt")
	cert, err := readCert(certPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return did, err
	}
	var keys []*keyFile
	if there, err := exists(keyPath); err != nil {
		return did, err
	} else if there {
		key, err := readKey(keyPath)
		if err != nil {
			return did, err
		}
		if e.disk.protect(keyPath) {
			e.changed(keyPath, "closed to other users")
		}
		keys = append(keys, key)
	}
	if cert != nil {
		if len(keys) == 0 || !keys[0].fits(cert.cert) {
			return did, missingKey(certPath, keyPath)
		}
		if !cert.issuedBy(r.tlsCA.certs) {
			return did, foreign(certPath, r.tlsCA)
		}
		if err := e.reissue(cert, keys[0], r, want); err != nil {
			return did, err
		}
	} else {
		if err := r.tlsCA.canIssue(want.commonName, certPath); err != nil {
			return did, err
		}
		did = created
		if len(keys) > 0 {
			did = completed
		}
		key, err := e.newKeyFile(keyPath, keys)
		if err != nil {
			return did, err
		}
		if err := e.issueTLS(certPath, key, r, want, nil); err != nil {
			return did, err
		}
	}
	caPath := filepath.Join(dir, "ca.crt")
	if there, err := exists(caPath); err != nil || there {
		return did, err
	}
	return max(did, completed), e.disk.write(caPath, r.tlsCA.issuer.pem, publicFile)
}

// issueTLS keeps the extra names, those of the certificate that the new one replaces.
func (e *ensurer) issueTLS(path string, key *keyFile, r *roots, want tlsWant, extra []string) error {
	names := slices.Concat(want.sans, extra)
	if len(want.sans) > 0 {
		names = append(names, localNames()...)
	}
	cert, err := r.tlsCA.newTLSCert(subject(r.org.CA, want.commonName), unique(names), key.signer.Public(), e.now)
	if err != nil {
		return err
	}
	return e.disk.write(path, cert, publicFile)
}

// reissue replaces a server certificate that lacks a name, over the same key: etcdraft
// knows its consenters by their public keys, so a channel that runs is not disturbed.
func (e *ensurer) reissue(c *certFile, key *keyFile, r *roots, want tlsWant) error {
	lacking := lacking(c.cert, want.sans)
	if len(lacking) == 0 {
		return nil
	}
	names := strings.Join(lacking, ", ")
	// BFT compares certificates and not keys. One that has the Service name may be in use.
	if want.pinnedBy != "" && !slices.Contains(lacking, want.service) {
		return exit.WithHint(
			exit.With(fmt.Errorf("%s lacks %s, and BFT channel %q holds the certificate byte by byte", c.path, names, want.pinnedBy), exit.Invalid),
			fmt.Sprintf("take the name out of SANS again; if the channel does not exist yet, remove %s and repeat", c.path))
	}
	if err := r.tlsCA.canIssue(want.commonName, c.path); err != nil {
		return fmt.Errorf("%s lacks %s: %w", c.path, names, err)
	}
	if err := e.issueTLS(c.path, key, r, want, sansOf(c.cert)); err != nil {
		return err
	}
	e.changed(c.path, "TLS certificate re-issued over the same key for %s", names)
	return nil
}

// lacking lists the names that a certificate does not carry. Names are looked for literally:
// a file that asks for a wildcard wants the wildcard in the certificate.
func lacking(c *x509.Certificate, names []string) []string {
	have := map[string]bool{}
	for _, n := range sansOf(c) {
		have[strings.ToLower(n)] = true
	}
	var missing []string
	for _, n := range unique(names) {
		if !have[strings.ToLower(canonical(n))] {
			missing = append(missing, n)
		}
	}
	return missing
}

func sansOf(c *x509.Certificate) []string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

// canonical spells an address as a certificate does; names stay as they are.
func canonical(name string) string {
	if ip := net.ParseIP(name); ip != nil {
		return ip.String()
	}
	return name
}

// unique keeps the first of equal names and drops empty ones.
func unique(names []string) []string {
	seen := map[string]bool{}
	var list []string
	for _, n := range names {
		if n = canonical(n); n == "" || seen[strings.ToLower(n)] {
			continue
		}
		seen[strings.ToLower(n)] = true
		list = append(list, n)
	}
	return list
}
