package configtx

import (
	"errors"

	"github.com/hyperledger/fabric-protos-go-apiv2/msp"

	"pivt.io/pivt/pkg/pki"
)

const fabricMSP = 0 // the type of an MSP of X.509 certificates; 1 is Idemix

// msp tells the channel by which certificates an organisation's members are known.
func (g *group) msp(p *pki.Public) {
	if len(p.RootCerts) == 0 {
		g.err = errors.Join(g.err, errors.New("org "+p.Name+" has no CA certificate"))
		return
	}
	c := &msp.FabricMSPConfig{
		Name:                 p.MSPID,
		RootCerts:            pems(p.RootCerts),
		IntermediateCerts:    pems(p.IntermediateCerts),
		Admins:               pems(p.Admins),
		TlsRootCerts:         pems(p.TLSRootCerts),
		TlsIntermediateCerts: pems(p.TLSIntermediateCerts),
		CryptoConfig: &msp.FabricCryptoConfig{
			SignatureHashFamily:            "SHA2",
			IdentityIdentifierHashFunction: "SHA256",
		},
	}
	if p.NodeOUs {
		ou := func(role string) *msp.FabricOUIdentifier {
			return &msp.FabricOUIdentifier{Certificate: []byte(p.RootCerts[0]), OrganizationalUnitIdentifier: role}
		}
		c.FabricNodeOus = &msp.FabricNodeOUs{
			Enable:              true,
			ClientOuIdentifier:  ou("client"),
			PeerOuIdentifier:    ou("peer"),
			AdminOuIdentifier:   ou("admin"),
			OrdererOuIdentifier: ou("orderer"),
		}
	}
	b, err := marshal(c)
	if err != nil {
		g.err = errors.Join(g.err, err)
		return
	}
	g.value("MSP", &msp.MSPConfig{Type: fabricMSP, Config: b})
}

func pems(list []string) [][]byte {
	var b [][]byte
	for _, c := range list {
		b = append(b, []byte(c))
	}
	return b
}
