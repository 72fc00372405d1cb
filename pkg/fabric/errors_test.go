package fabric

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"pivt.io/pivt/pkg/exit"
)

const node = "hlf-peer--org1--peer0:7051"

func detailed(t *testing.T, code codes.Code, details ...*gateway.ErrorDetail) error {
	t.Helper()
	var list []protoadapt.MessageV1
	for _, d := range details {
		list = append(list, protoadapt.MessageV1Of(d))
	}
	st, err := status.New(code, "failed to endorse transaction, see attached details for more info").WithDetails(list...)
	if err != nil {
		t.Fatal(err)
	}
	return st.Err()
}

// What no node of the contract suite says on demand.
func TestClassify(t *testing.T) {
	t.Parallel()
	other := "hlf-peer--org2--peer0:7051"
	cases := map[string]struct {
		reason    string
		err       error
		kind      error
		transient bool
		text      string
	}{
		"Refused": {"A node that starts does not listen yet.",
			status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.1:7051: connect: connection refused"`),
			nil, true, node + ": Error while dialing: dial tcp 10.0.0.1:7051: connect: connection refused"},
		"BrokenHandshake": {"A port-forward to a pod that starts opens and closes.",
			status.Error(codes.Unavailable, `connection error: desc = "transport: authentication handshake failed: EOF"`),
			nil, true, node + ": authentication handshake failed: EOF"},
		"WrongCertificate": {"No patience makes a certificate right.",
			status.Error(codes.Unavailable, `connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"`),
			nil, false, node + ": authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		"OurCertificate": {"Nor does it make ours right.",
			status.Error(codes.Unavailable, `connection error: desc = "error reading server preface: remote error: tls: bad certificate"`),
			nil, false, node + ": error reading server preface: remote error: tls: bad certificate"},
		"Slow": {"Somebody is busy.", status.Error(codes.DeadlineExceeded, "context deadline exceeded"), nil, true, node + ": no answer in time"},
		"Full": {"The peer limits how much it does at once.", status.Error(codes.ResourceExhausted, "too many requests for /protos.Endorser"),
			nil, true, node + ": too many requests for /protos.Endorser"},
		"NoRights": {"An ACL of the gateway itself.", status.Error(codes.PermissionDenied, "signature set did not satisfy policy"),
			ErrDenied, false, node + ": signature set did not satisfy policy"},
		"Wrapped": {"The admin SDK's own words say nothing new.",
			fmt.Errorf("failed to approve chaincode: %w", status.Error(codes.FailedPrecondition, "failed to find any endorsing peers for org(s): Org1MSP")),
			ErrNoEndorsers, false, node + ": failed to find any endorsing peers for org(s): Org1MSP"},
		"Details": {"Who said it matters, and nobody needs to read it twice.",
			detailed(t, codes.Aborted, &gateway.ErrorDetail{Address: other, Message: "chaincode response 500, failed to invoke backing implementation of 'CommitChaincodeDefinition': chaincode definition not agreed to by this org (Org2MSP)"},
				&gateway.ErrorDetail{Address: other, Message: "chaincode definition not agreed to by this org (Org2MSP)"}),
			ErrNotApproved, true, node + ": " + other + ": chaincode definition not agreed to by this org (Org2MSP)"},
		"OwnDetail": {"Nor twice who it was.", detailed(t, codes.Aborted, &gateway.ErrorDetail{Address: node, Message: "channel 'common' not found"}),
			ErrNoChannel, false, node + ": channel 'common' not found"},
		"LostPeer": {"The gateway knows a peer that just died.",
			detailed(t, codes.Aborted, &gateway.ErrorDetail{Address: other, Message: "rpc error: code = Unavailable desc = error reading from server: EOF"}),
			nil, true, node + ": " + other + ": rpc error: code = Unavailable desc = error reading from server: EOF"},
		"Heights": {"Peers at different heights simulate different results.",
			detailed(t, codes.Aborted, &gateway.ErrorDetail{Address: other, Message: "ProposalResponsePayloads do not match"}),
			nil, true, node + ": " + other + ": ProposalResponsePayloads do not match"},
		"ChaincodeSpeaksFabric": {"A chaincode may use Fabric's words; they are not Fabric's.",
			detailed(t, codes.Unknown, &gateway.ErrorDetail{Address: node, Message: "chaincode response 500, asset7 is not defined: access denied"}),
			ErrRejected, false, node + ": chaincode response 500, asset7 is not defined: access denied"},
		"NotStarted": {"The launcher's reason is in it.",
			status.Error(codes.Aborted, "error in simulation: failed to execute transaction 1: could not launch chaincode basic_1.0:aa: chaincode registration failed: container exited with 1"),
			ErrNotRunning, false, node + ": error in simulation: failed to execute transaction 1: could not launch chaincode basic_1.0:aa: chaincode registration failed: container exited with 1"},
		"SlowBuild": {"The peer's own patience ended; its build goes on.",
			status.Error(codes.Unknown, "error in simulation: failed to execute transaction 1: error sending: timeout expired while executing transaction"),
			ErrSlow, false, node + ": error in simulation: failed to execute transaction 1: error sending: timeout expired while executing transaction"},
		"SeveralLines": {"Errors are one line.", status.Error(codes.Unknown, "a\n\tb"), nil, false, node + ": a b"},
		"Overtaken": {"Another transaction was ordered first.", &client.CommitError{TransactionID: "t1", Code: peer.TxValidationCode_MVCC_READ_CONFLICT},
			ErrStale, true, node + ": transaction t1 is in a block but invalid: MVCC_READ_CONFLICT"},
		"Invalid": {"The endorsements do not satisfy the policy, and never will.", &client.CommitError{TransactionID: "t1", Code: peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE},
			ErrInvalidated, false, node + ": transaction t1 is in a block but invalid: ENDORSEMENT_POLICY_FAILURE"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := classify(t.Context(), node, tc.err)
			if tc.kind != nil && !errors.Is(err, tc.kind) || exit.IsTransient(err) != tc.transient {
				t.Errorf("%s\nclassify: %v (transient %t), want %v (transient %t)", tc.reason, err, exit.IsTransient(err), tc.kind, tc.transient)
			}
			if err.Error() != tc.text {
				t.Errorf("%s\ntext %q\nwant %q", tc.reason, err, tc.text)
			}
		})
	}
}

func TestClassifyInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, err := range map[string]error{
		"gRPC": classify(ctx, node, status.Error(codes.Unavailable, "transport is closing")),
		"HTTP": classifyHTTP(ctx, node, errors.New("net/http: request canceled")),
	} {
		if exit.CodeOf(err) != exit.Interrupted {
			t.Errorf("%s: %v; whoever pressed Ctrl-C does not want another try", what, err)
		}
	}
}

func TestClassifyHTTP(t *testing.T) {
	t.Parallel()
	wrap := func(err error) error {
		return &url.Error{Op: "Get", URL: "https://orderer0:7053/participation", Err: err}
	}
	cases := map[string]struct {
		reason    string
		err       error
		transient bool
		text      string
	}{
		"Refused":  {"A node that starts does not listen yet.", wrap(errors.New("connect: connection refused")), true, node + ": connect: connection refused"},
		"Slow":     {"Somebody is busy.", wrap(context.DeadlineExceeded), true, node + ": no answer in time"},
		"Stranger": {"No patience makes a certificate right.", wrap(x509.UnknownAuthorityError{}), false, node + ": x509: certificate signed by unknown authority"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := classifyHTTP(t.Context(), node, tc.err)
			if exit.IsTransient(err) != tc.transient || err.Error() != tc.text {
				t.Errorf("%s\nclassifyHTTP: %q (transient %t), want %q (transient %t)", tc.reason, err, exit.IsTransient(err), tc.text, tc.transient)
			}
		})
	}
}

func TestRefusesBadMaterial(t *testing.T) {
	t.Parallel()
	const secret = "not a key but secret"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if _, err := NewIdentity("Org1MSP", cert, []byte(secret)); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("NewIdentity = %v, want an error without the key", err)
	}
	for _, roots := range [][][]byte{nil, {[]byte("no certificate")}} {
		if _, err := (Endpoint{Address: node, Roots: roots}).connect(); err == nil {
			t.Errorf("an endpoint with roots %q connects; it would trust whom the system trusts", roots)
		}
	}
}
