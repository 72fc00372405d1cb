package backup

// Identity tells networks apart: whose certificates their organisations trust.
type Identity struct {
	Orgs []OrgIdentity `json:"orgs"` // by MSP id
}

// OrgIdentity is one organisation of a network.
type OrgIdentity struct {
	MSPID string   `json:"mspId"`
	Kind  string   `json:"kind"`
	CAs   []string `json:"cas"` // SHA-256 of the CA certificates, identity and TLS, hex, sorted
}
