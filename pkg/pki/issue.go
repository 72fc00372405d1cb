package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"pivt.io/pivt/pkg/network"
)

// validity is cryptogen's: ten years less the leap days, from five minutes ago so that nodes
// whose clocks are behind accept the certificate at once.
const (
	validity = 3650 * 24 * time.Hour
	backdate = 5 * time.Minute
)

// newKey makes a P-256 key, the curve that Fabric's default crypto provider signs with.
func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a private key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a private key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// subject follows cryptogen: the CA's place for everything that the CA issues, and the role as
// an organisational unit after the CA's own.
func subject(ca network.CA, commonName string, units ...string) pkix.Name {
	list := func(s string) []string {
		if s == "" {
			return nil
		}
		return []string{s}
	}
	return pkix.Name{
		Country:            list(ca.Country),
		Province:           list(ca.Province),
		Locality:           list(ca.Locality),
		StreetAddress:      list(ca.StreetAddress),
		PostalCode:         list(ca.PostalCode),
		OrganizationalUnit: append(list(ca.OrganizationalUnit), units...),
		CommonName:         commonName,
	}
}

// newCA issues a self-signed CA certificate. Fabric refuses a CA without a subject key id.
func newCA(o *network.Org, commonName string, key crypto.Signer, now time.Time) ([]byte, error) {
	name := subject(o.CA, commonName)
	name.Organization = []string{o.Domain}
	t, err := template(name, now)
	if err != nil {
		return nil, err
	}
	t.IsCA = true
	t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment |
		x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	if t.SubjectKeyId, err = keyID(key.Public()); err != nil {
		return nil, err
	}
	return sign(t, t, key.Public(), key)
}

// newMSPCert issues the certificate that a node, admin or user signs with.
func (a *authority) newMSPCert(name pkix.Name, pub crypto.PublicKey, now time.Time) ([]byte, error) {
	t, err := template(name, now)
	if err != nil {
		return nil, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	return a.sign(t, pub)
}

// newTLSCert issues a certificate for both ends of a connection: orderers and peers are
// clients of each other with the one they serve with.
func (a *authority) newTLSCert(name pkix.Name, sans []string, pub crypto.PublicKey, now time.Time) ([]byte, error) {
	t, err := template(name, now)
	if err != nil {
		return nil, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, san := range sans {
		if ip := net.ParseIP(san); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
			continue
		}
		t.DNSNames = append(t.DNSNames, san)
	}
	return a.sign(t, pub)
}

func (a *authority) sign(t *x509.Certificate, pub crypto.PublicKey) ([]byte, error) {
	ca := a.issuer.cert
	if t.NotAfter.After(ca.NotAfter) {
		// A certificate that outlives its CA only hides when both end.
		t.NotAfter = ca.NotAfter
	}
	return sign(t, ca, pub, a.key.signer)
}

func sign(t, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) ([]byte, error) {
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		key = lowS{k}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %q: %w", t.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func template(name pkix.Name, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	begin := now.UTC().Truncate(time.Minute).Add(-backdate)
	return &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               name,
		NotBefore:             begin,
		NotAfter:              begin.Add(validity),
		BasicConstraintsValid: true,
	}, nil
}

// keyID is the id that Fabric's crypto provider gives a key.
func keyID(pub crypto.PublicKey) ([]byte, error) {
	k, ok := pub.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key of type %T has no id", pub)
	}
	e, err := k.ECDH()
	if err != nil {
		return nil, fmt.Errorf("making a key id: %w", err)
	}
	sum := sha256.Sum256(e.Bytes())
	return sum[:], nil
}

// lowS signs with the smaller of the two values that s may have. Fabric rewrites certificates
// that are signed with the larger one, and what it then compares is no longer the file.
type lowS struct{ *ecdsa.PrivateKey }

func (l lowS) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	der, err := l.PrivateKey.Sign(r, digest, opts)
	if err != nil {
		return nil, err
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return nil, fmt.Errorf("reading a signature: %w", err)
	}
	order := l.Params().N
	if sig.S.Cmp(new(big.Int).Rsh(order, 1)) > 0 {
		sig.S.Sub(order, sig.S)
	}
	return asn1.Marshal(sig)
}
