package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

// Roles as a certificate's organisational unit spells them; a node's is its organisation's Kind.
const (
	roleClient = "client"
	roleAdmin  = "admin"
)

const configFile = "config.yaml"

// configYAML switches NodeOUs on: roles count only in certificates of the named CA.
func configYAML(caCert string) []byte {
	var b strings.Builder
	b.WriteString("NodeOUs:\n  Enable: true\n")
	for _, id := range []struct{ key, role string }{
		{"Client", roleClient},
		{"Peer", string(network.Peer)},
		{"Admin", roleAdmin},
		{"Orderer", string(network.Orderer)},
	} {
		fmt.Fprintf(&b, "  %sOUIdentifier:\n    Certificate: %s\n    OrganizationalUnitIdentifier: %s\n",
			id.key, caCert, id.role)
	}
	return []byte(b.String())
}

// verifyingMSP completes what is public in an MSP directory, an organisation's own or the one
// inside a node's or user's.
func (e *ensurer) verifyingMSP(msp string, r *roots) (wrote bool, err error) {
	for _, part := range []struct {
		folder string
		from   *authority
	}{{"cacerts", r.ca}, {"tlscacerts", r.tlsCA}} {
		dir := filepath.Join(msp, part.folder)
		have, err := readCerts(dir)
		if err != nil {
			return wrote, err
		}
		if len(have) > 0 {
			continue
		}
		c := part.from.issuer
		if err := e.disk.write(filepath.Join(dir, filepath.Base(c.path)), c.pem, publicFile); err != nil {
			return wrote, err
		}
		wrote = true
	}
	on, err := nodeOUs(msp)
	if err != nil {
		return wrote, err
	}
	path := filepath.Join(msp, configFile)
	if on && !r.org.NodeOUs {
		return wrote, exit.WithHint(
			exit.With(fmt.Errorf("%s enables NodeOUs, crypto-config.yaml does not", path), exit.Invalid),
			"set EnableNodeOUs: true for this organisation")
	}
	if on == r.org.NodeOUs {
		return wrote, nil
	}
	ca, err := readCerts(filepath.Join(msp, "cacerts"))
	if err != nil {
		return wrote, err
	}
	if len(ca) == 0 {
		return wrote, broken(filepath.Join(msp, "cacerts"), errors.New("no CA certificate"))
	}
	return true, e.disk.write(path, configYAML("cacerts/"+filepath.Base(ca[0].path)), publicFile)
}

// nodeOUs reports whether an MSP directory's config.yaml enables roles by organisational unit.
func nodeOUs(msp string) (bool, error) {
	path := filepath.Join(msp, configFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var c struct {
		NodeOUs struct {
			Enable bool `yaml:"Enable"`
		} `yaml:"NodeOUs"`
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		return false, broken(path, err)
	}
	return c.NodeOUs.Enable, nil
}

// localMSP completes the MSP directory of somebody who signs.
func (e *ensurer) localMSP(msp string, r *roots, commonName, role string) (outcome, error) {
	did, err := e.signer(msp, r, commonName, role)
	if err != nil {
		return did, err
	}
	wrote, err := e.verifyingMSP(msp, r)
	if err != nil {
		return did, err
	}
	wroteAdmins, err := e.admins(msp, r)
	if err != nil {
		return did, err
	}
	if wrote || wroteAdmins {
		did = max(did, completed)
	}
	return did, nil
}

func (e *ensurer) signer(msp string, r *roots, commonName, role string) (outcome, error) {
	keystore, signcerts := filepath.Join(msp, "keystore"), filepath.Join(msp, "signcerts")
	keys, err := readKeys(keystore)
	if err != nil {
		return unchanged, err
	}
	for _, k := range keys {
		if e.disk.protect(k.path) {
			e.changed(k.path, "closed to other users")
		}
	}
	certs, err := readCerts(signcerts)
	if err != nil {
		return unchanged, err
	}
	if len(certs) > 0 {
		return unchanged, checkSigner(certs[0], keystore, r.ca)
	}
	path := filepath.Join(signcerts, commonName+"-cert.pem")
	if err := r.ca.canIssue(commonName, path); err != nil {
		return unchanged, err
	}
	did := created
	if len(keys) > 0 {
		did = completed
	}
	key, err := e.newKeyFile(filepath.Join(keystore, "priv_sk"), keys)
	if err != nil {
		return unchanged, err
	}
	var units []string
	if r.org.NodeOUs {
		units = []string{role}
	}
	cert, err := r.ca.newMSPCert(subject(r.org.CA, commonName, units...), key.signer.Public(), e.now)
	if err != nil {
		return unchanged, err
	}
	return did, e.disk.write(path, cert, publicFile)
}

// checkSigner finds out here what a node would only say at its start, in a pod's log.
func checkSigner(c *certFile, keystore string, ca *authority) error {
	key, err := keyOf(c.cert, keystore)
	if err != nil {
		return err
	}
	if key == nil {
		return missingKey(c.path, keystore)
	}
	if !c.issuedBy(ca.certs) {
		return foreign(c.path, ca)
	}
	return nil
}

// checkRoles looks at every certificate before anything is written: switching NodeOUs on
// over certificates without roles would leave an organisation that has no admin.
func checkRoles(t Tree, o *network.Org) error {
	roles := map[string]string{} // by directory
	for _, u := range users(o) {
		roles[t.UserDir(o, u)] = roleClient
	}
	roles[t.AdminDir(o)] = roleAdmin
	for _, n := range o.Nodes {
		roles[t.NodeDir(n)] = string(o.Kind)
	}
	for _, dir := range sortedKeys(roles) {
		certs, err := readCerts(filepath.Join(dir, "msp", "signcerts"))
		if err != nil {
			return err
		}
		for _, c := range certs {
			if err := checkRole(c.cert, c.path, o, roles[dir]); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkRole(cert *x509.Certificate, path string, o *network.Org, role string) error {
	if !o.NodeOUs || slices.Contains(cert.Subject.OrganizationalUnit, role) {
		return nil
	}
	return exit.WithHint(
		exit.With(fmt.Errorf("%s has no organisational unit %q, and crypto-config.yaml enables NodeOUs", path, role), exit.Invalid),
		"set EnableNodeOUs: false for this organisation, or move its directory away to have new keys made")
}

func missingKey(cert, place string) error {
	return exit.WithHint(
		exit.With(fmt.Errorf("the private key of %s is not in %s", cert, place), exit.Invalid),
		"put the key back, or move the certificate's directory away to have a new identity made")
}

func foreign(path string, a *authority) error {
	return exit.WithHint(
		exit.With(fmt.Errorf("%s was not issued by %s", path, a.issuer.path), exit.Invalid),
		"the tree mixes certificates of two networks; restore either of them")
}

// admins completes admincerts, which is how admins are known without NodeOUs. cryptogen
// puts a user's own certificate into the user's MSP there; both are accepted.
func (e *ensurer) admins(msp string, r *roots) (wrote bool, err error) {
	if r.org.NodeOUs {
		return false, nil
	}
	dir := filepath.Join(msp, "admincerts")
	have, err := readCerts(dir)
	if err != nil || len(have) > 0 {
		return false, err
	}
	admin, err := readCerts(filepath.Join(e.tree.AdminDir(r.org), "msp", "signcerts"))
	if err != nil {
		return false, err
	}
	if len(admin) == 0 {
		return false, nil // the admin's own MSP: the certificate is written before this is called
	}
	path := filepath.Join(dir, userName(r.org, adminUser)+"-cert.pem")
	return true, e.disk.write(path, admin[0].pem, publicFile)
}
