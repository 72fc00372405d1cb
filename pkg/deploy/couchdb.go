package deploy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
)

// couchDBUser is the only user of a CouchDB, its administrator.
const couchDBUser = "peer"

// couchDB is chart hlf-kube's value peer.stateDatabase for a CouchDB beside each peer.
const couchDB = "CouchDB"

// usesCouchDB reads peer.stateDatabase of the merged files.
func usesCouchDB(values map[string]any) bool {
	peer, _ := values["peer"].(map[string]any)
	return peer["stateDatabase"] == couchDB
}

// couchDBPassword is derived from the peer's own private key, so it is the same in every run,
// on every machine that holds the keys, and nothing more has to be kept, backed up or read back
// from the cluster: a CouchDB keeps the password it was first started with, and one that was made
// up anew would shut the peer out of its state. Whoever could compute it holds the peer's
// key already, which lies in the same namespace; the way back from password to key is closed.
// The text keeps this use of the key apart from any other, and peers apart from each other
// even if someone gave two of them the same key.
func couchDBPassword(node *network.Node, m *pki.NodeMaterial) (string, error) {
	key, _ := pem.Decode(m.MSP.KeyPEM)
	if key == nil { // the file may be laid out anew, its content must count
		return "", fmt.Errorf("private key of %s is not PEM", node.CommonName)
	}
	mac := hmac.New(sha256.New, key.Bytes)
	mac.Write([]byte("pivt.io/pivt: password of the CouchDB beside " + node.CommonName))
	// Hexadecimal, because CouchDB takes a password that begins with "-pbkdf2-" for a hash of
	// one, and its entrypoint writes it into an ini file.
	return hex.EncodeToString(mac.Sum(nil)), nil
}
