package fabric

import (
	"errors"
	"fmt"

	sdk "github.com/hyperledger/fabric-admin-sdk/pkg/identity"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
)

// Identity signs what is sent to nodes, as an admin or a client of an organisation.
type Identity struct{ sdk.SigningIdentity }

// NewIdentity makes an identity of a certificate and its private key, both PEM.
func NewIdentity(mspID string, certPEM, keyPEM []byte) (Identity, error) {
	cert, err := identity.CertificateFromPEM(certPEM)
	if err != nil {
		return Identity{}, fmt.Errorf("reading a certificate of %s: %w", mspID, err)
	}
	key, err := identity.PrivateKeyFromPEM(keyPEM)
	if err != nil {
		// The parser's words could quote the key.
		return Identity{}, fmt.Errorf("reading a private key of %s: %w", mspID, errors.New("it is not a PEM private key"))
	}
	id, err := sdk.NewPrivateKeySigningIdentity(mspID, cert, key)
	if err != nil {
		return Identity{}, fmt.Errorf("making an identity of %s: %w", mspID, err)
	}
	return Identity{id}, nil
}
