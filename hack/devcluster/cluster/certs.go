package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certLife is long for a cluster that rarely lives for a day.
const certLife = 365 * 24 * time.Hour

// authority issues certificates below one root.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// pair is a certificate and its key, PEM.
type pair struct{ cert, key []byte }

func newAuthority(name string, now time.Time) (*authority, pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, pair{}, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(certLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	a := &authority{cert: template, key: key}
	p, err := a.sign(template, key)
	if err != nil {
		return nil, pair{}, err
	}
	block, _ := pem.Decode(p.cert)
	if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, pair{}, fmt.Errorf("reading back certificate %s: %w", name, err)
	}
	a.pem = p.cert
	return a, p, nil
}

// issue makes a certificate that serves as client and as server, for hosts that are names or addresses.
func (a *authority) issue(name string, groups []string, hosts []string, now time.Time) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: groups},
		NotBefore:   now.Add(-time.Minute),
		NotAfter:    now.Add(certLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	if len(hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	return a.sign(template, key)
}

func (a *authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) (pair, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return pair{}, fmt.Errorf("choosing a serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return pair{}, fmt.Errorf("signing certificate %s: %w", template.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, fmt.Errorf("encoding the key of %s: %w", template.Subject.CommonName, err)
	}
	return pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// identity is somebody who gets a certificate from the cluster's authority.
type identity struct {
	file   string
	name   string
	groups []string
	hosts  []string
	// kubeconfig is written for those who talk to the API server.
	kubeconfig string
}

func (l Layout) identities() []identity {
	return []identity{
		{file: "apiserver", name: "kube-apiserver", hosts: []string{
			NodeIP, apiServiceIP, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain,
		}},
		{file: "apiserver-kubelet-client", name: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		{file: "kubelet", name: "system:node:" + nodeName, groups: []string{"system:nodes"}, hosts: []string{NodeIP, nodeName}, kubeconfig: l.conf("kubelet.kubeconfig")},
		{file: "controller-manager", name: "system:kube-controller-manager", kubeconfig: l.conf("controller-manager.kubeconfig")},
		{file: "scheduler", name: "system:kube-scheduler", kubeconfig: l.conf("scheduler.kubeconfig")},
		{file: "proxy", name: "system:kube-proxy", kubeconfig: l.conf("proxy.kubeconfig")},
		{file: "kube-router", name: "pivt:kube-router", kubeconfig: l.conf("kube-router.kubeconfig")},
		{file: "admin", name: "pivt-admin", groups: []string{"system:masters"}, kubeconfig: l.Kubeconfig()},
	}
}

// writePKI makes all keys and certificates, and the kubeconfigs that hold them.
func (l Layout) writePKI(now time.Time) error {
	ca, caPair, err := newAuthority("pivt-devcluster", now)
	if err != nil {
		return err
	}
	// etcd trusts its own authority only: a certificate of the cluster must not open its database.
	etcdCA, etcdPair, err := newAuthority("pivt-devcluster-etcd", now)
	if err != nil {
		return err
	}
	tokens, _, err := newAuthority("service-accounts", now)
	if err != nil {
		return err
	}
	etcd, err := etcdCA.issue("etcd", nil, []string{"127.0.0.1"}, now)
	if err != nil {
		return err
	}
	tokenKey, err := x509.MarshalPKCS8PrivateKey(tokens.key)
	if err != nil {
		return fmt.Errorf("encoding the service account key: %w", err)
	}
	// The API server reads the public half from PKIX only.
	tokenPublic, err := x509.MarshalPKIXPublicKey(tokens.key.Public())
	if err != nil {
		return fmt.Errorf("encoding the service account key: %w", err)
	}
	files := map[string][]byte{
		"service-accounts.pub": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: tokenPublic}),
		"ca.crt":               caPair.cert, "ca.key": caPair.key, "etcd-ca.crt": etcdPair.cert, "etcd.crt": etcd.cert, "etcd.key": etcd.key,
		"service-accounts.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: tokenKey}),
	}
	for _, id := range l.identities() {
		p, err := ca.issue(id.name, id.groups, id.hosts, now)
		if err != nil {
			return err
		}
		files[id.file+".crt"], files[id.file+".key"] = p.cert, p.key
		if id.kubeconfig == "" {
			continue
		}
		if err := writePrivate(id.kubeconfig, kubeconfig(ca.pem, p)); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := writePrivate(l.pki(name), content); err != nil {
			return err
		}
	}
	return nil
}

func (l Layout) pki(name string) string { return l.state("pki", name) }

// writePrivate writes by rename: who waits for the file to appear must not read half of it.
func writePrivate(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	if err := os.WriteFile(file+".tmp", content, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return os.Rename(file+".tmp", file)
}

func kubeconfig(ca []byte, p pair) []byte {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
  - name: pivt
    cluster:
      server: https://%s:%s
      certificate-authority-data: %s
users:
  - name: pivt
    user:
      client-certificate-data: %s
      client-key-data: %s
contexts:
  - name: pivt
    context: {cluster: pivt, user: pivt}
current-context: pivt
`, NodeIP, apiPort, b64(ca), b64(p.cert), b64(p.key))
}
