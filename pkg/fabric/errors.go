package fabric

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pivt.io/pivt/pkg/exit"
)

// Kinds of failure that callers act upon. Whatever only time can cure carries exit.TryAgain
// as well; the others say nothing about time, because only the caller knows whether the
// network is still being built.
var (
	// ErrNoChannel: the node has not joined the channel, or refuses to say.
	ErrNoChannel = errors.New("channel not joined")
	// ErrExists: what was to be made is there already; somebody was faster.
	ErrExists = errors.New("exists already")
	// ErrNotDefined: the channel has no definition of the chaincode.
	ErrNotDefined = errors.New("chaincode not defined")
	// ErrDenied: the identity may not do this.
	ErrDenied = errors.New("denied")
	// ErrStale: the definition changed between looking and acting. Look again.
	ErrStale = errors.New("definition changed meanwhile")
	// ErrUnchanged: this very definition is approved already.
	ErrUnchanged = errors.New("approved already")
	// ErrNotApproved: an endorsing peer does not know of its organisation's approval (yet).
	ErrNotApproved = errors.New("not approved")
	// ErrNoEndorsers: the gateway knows no set of peers that satisfies the endorsement
	// policy: either gossip has not met them yet, or the policy asks for the impossible.
	ErrNoEndorsers = errors.New("no suitable endorsers")
	// ErrNotInstalled: the peer that was called has no package for the definition (yet).
	ErrNotInstalled = errors.New("chaincode not installed")
	// ErrBuild: the peer's builder cannot make a chaincode of the package.
	ErrBuild = errors.New("chaincode does not build")
	// ErrSlow: the peer stopped waiting for the chaincode, or for its build, which goes on.
	ErrSlow = errors.New("chaincode takes too long")
	// ErrNotInitialized: this version of the chaincode wants its first call to be the init call.
	ErrNotInitialized = errors.New("chaincode not initialized")
	// ErrInitialized: it has been called; somebody was faster.
	ErrInitialized = errors.New("chaincode initialized already")
	// ErrNotRunning: the chaincode does not start, or ended while it was called.
	ErrNotRunning = errors.New("chaincode not running")
	// ErrRejected: the chaincode itself answered with an error.
	ErrRejected = errors.New("chaincode answered with an error")
	// ErrInvalidated: the transaction is in a block and was found invalid.
	ErrInvalidated = errors.New("transaction invalidated")
)

// NodeError is what one node said. Its text is the node and the reason, each once.
type NodeError struct {
	Node   string // host:port
	Reason string
	Kind   error // one of the kinds above, or nil
	Cause  error // the library's error, for errors.As
}

func (e *NodeError) Error() string { return e.Node + ": " + e.Reason }

// Unwrap finds both the kind and the cause.
func (e *NodeError) Unwrap() []error {
	var errs []error
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	return errs
}

// words maps what Fabric says to a kind. It is the only place that knows Fabric's wording;
// the contract suite of package fabrictest asks real nodes for most of it. The first hit wins.
var words = []struct {
	text      string
	kind      error
	transient bool
}{
	// peer: core/endorser, core/scc/cscc, discovery
	{"already exists with state", ErrExists, false},
	{"LedgerID already exists", ErrExists, false},
	{"chaincode already successfully installed", ErrExists, false},
	{"creator org unknown", ErrDenied, false},
	{"access denied", ErrDenied, false},
	{"Failed to authorize invocation", ErrDenied, false},
	{"could not get channelconfig for channel", ErrNoChannel, false},

	// peer: core/chaincode/lifecycle
	{"is not defined", ErrNotDefined, false},
	{"could not get current sequence", ErrNotDefined, false},
	{"chaincode install package '", ErrNotInstalled, false}, // … not found
	{"could not build chaincode", ErrBuild, false},
	{"could not fetch approved chaincode definition", ErrNotDefined, false},
	{"private data matching public hash version is not available", nil, true},
	{"with unchanged content", ErrUnchanged, false},
	{"with different parameters", ErrStale, true},
	{"attempted to redefine the current committed sequence", ErrUnchanged, false},
	{"is larger than requested sequence", ErrStale, true},
	{"is larger than the next available sequence", ErrStale, true},
	{"but new definition must be sequence", ErrStale, true},
	{"chaincode definition not agreed to by this org", ErrNotApproved, true},

	// peer: internal/pkg/gateway
	{"no combination of peers can be derived", ErrNoEndorsers, false},
	{"failed to select a set of endorsers", ErrNoEndorsers, false},
	{"failed to find any endorsing peers", ErrNoEndorsers, false},
	{"no peers available to evaluate chaincode", ErrNoEndorsers, false},
	{"failed to get config for channel", ErrNoChannel, false},
	{"ProposalResponsePayloads do not match", nil, true}, // peers at different heights
	{"no orderers could successfully process transaction", nil, true},
	{"insufficient number of orderers", nil, true},
	{"no orderer nodes available", nil, true},

	// peer: core/chaincode
	{"has not been initialized for this version", ErrNotInitialized, false},
	{"is already initialized but called as init", ErrInitialized, false},
	{"does not require initialization but called as init", ErrStale, true},
	{"timeout expired while executing transaction", ErrSlow, false},
	{"could not launch chaincode", ErrNotRunning, false},
	{"chaincode is not installed", ErrNotInstalled, false},
	{"make sure the chaincode", ErrNotInstalled, false},
	{"chaincode stream terminated", ErrNotRunning, false},
}

var (
	channelNotFound = regexp.MustCompile(`channel '[^']*' not found`)
	fromChaincode   = regexp.MustCompile(`^(evaluate call to endorser returned error: )?chaincode response \d+, `)
	fromLifecycle   = regexp.MustCompile(`response \d+, (failed to invoke backing implementation of '|Failed to authorize invocation)`)
	// Prefixes that repeat what the caller says anyway, or nothing.
	noise = []*regexp.Regexp{
		regexp.MustCompile(`^unsuccessful response received with status \d+ \([A-Z_]*\): `),
		regexp.MustCompile(`^chaincode response 500, (failed to invoke backing implementation of '\w+': )`),
		regexp.MustCompile(`^failed to invoke backing implementation of '\w+': `),
		regexp.MustCompile(`^evaluate call to endorser returned error: `),
		regexp.MustCompile(`^connection error: desc = "(.*)"$`),
		regexp.MustCompile(`^transport: `),
	}
)

// kindOf reads Fabric's words.
func kindOf(said string) (kind error, transient bool) {
	if fromChaincode.MatchString(said) && !fromLifecycle.MatchString(said) {
		return ErrRejected, false // whatever words the chaincode chose
	}
	if channelNotFound.MatchString(said) {
		return ErrNoChannel, false
	}
	for _, w := range words {
		if strings.Contains(said, w.text) {
			return w.kind, w.transient
		}
	}
	return nil, false
}

// said makes the error of a sentence that a node answered with.
func said(node, reason string, cause error) error {
	kind, transient := kindOf(reason)
	e := &NodeError{Node: node, Reason: strip(reason), Kind: kind, Cause: cause}
	if transient {
		return exit.Transient(e)
	}
	return e
}

func strip(reason string) string {
	for _, p := range noise {
		if m := p.FindStringSubmatchIndex(reason); m != nil {
			if len(m) == 4 && m[3] == len(reason)-1 { // quoted whole
				reason = reason[m[2]:m[3]]
				continue
			}
			reason = reason[m[1]:]
		}
	}
	return strings.Join(strings.Fields(reason), " ")
}

// classify makes a NodeError of what gRPC, the gateway client or the admin SDK returned.
func classify(ctx context.Context, node string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s: %w", node, context.Canceled)
	}
	var invalid *client.CommitError
	if errors.As(err, &invalid) {
		return invalidated(node, invalid)
	}
	st, ok := status.FromError(err)
	if !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			return exit.Transient(&NodeError{Node: node, Reason: "no answer in time", Cause: err})
		}
		return said(node, err.Error(), err)
	}
	// status.FromError puts the wrapping words into the message; details keep the nodes' own.
	if e := asked(node, st, err); e != nil {
		return e
	}
	reason := unwrapStatus(err).Message()
	switch st.Code() {
	case codes.DeadlineExceeded:
		return exit.Transient(&NodeError{Node: node, Reason: "no answer in time", Cause: err})
	case codes.Unavailable:
		if untrusted(reason) {
			return &NodeError{Node: node, Reason: strip(reason), Cause: err}
		}
		if kind, _ := kindOf(reason); kind != nil {
			return said(node, reason, err)
		}
		return exit.Transient(&NodeError{Node: node, Reason: strip(reason), Cause: err})
	case codes.ResourceExhausted:
		return exit.Transient(&NodeError{Node: node, Reason: strip(reason), Cause: err})
	case codes.PermissionDenied, codes.Unauthenticated:
		return &NodeError{Node: node, Reason: strip(reason), Kind: ErrDenied, Cause: err}
	}
	return said(node, reason, err)
}

// unwrapStatus finds the innermost status, whose message is the server's own.
func unwrapStatus(err error) *status.Status {
	st := status.Convert(err)
	for e := err; e != nil; e = errors.Unwrap(e) {
		if s, ok := e.(interface{ GRPCStatus() *status.Status }); ok { //nolint:errorlint // walking the chain itself
			st = s.GRPCStatus()
		}
	}
	return st
}

// asked makes the error of what the peers that the gateway asked had to say, each thing once;
// nil if the status does not tell.
func asked(node string, st *status.Status, err error) error {
	e := &NodeError{Node: node, Cause: err}
	var reasons []string
	again := false
	for _, d := range st.Details() {
		detail, ok := d.(*gateway.ErrorDetail)
		if !ok {
			continue
		}
		kind, transient := kindOf(detail.GetMessage())
		if e.Kind == nil {
			e.Kind = kind
		}
		again = again || transient || lostPeer(detail.GetMessage())
		reason := strip(detail.GetMessage())
		if detail.GetAddress() != "" && detail.GetAddress() != node {
			reason = detail.GetAddress() + ": " + reason
		}
		if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	e.Reason = strings.Join(reasons, "; ")
	if again || st.Code() == codes.Unavailable || st.Code() == codes.DeadlineExceeded {
		return exit.Transient(e)
	}
	return e
}

// lostPeer tells that the gateway could not reach a peer, for which it passes gRPC's words on.
func lostPeer(reason string) bool {
	return strings.HasPrefix(reason, "rpc error: code = Unavailable") || strings.HasPrefix(reason, "rpc error: code = DeadlineExceeded")
}

// untrusted tells a certificate that will not do from a connection that broke off: a node
// that starts, or a port-forward to one, ends handshakes too.
func untrusted(reason string) bool {
	return strings.Contains(reason, "x509: ") || strings.Contains(reason, "remote error: tls: ")
}

func invalidated(node string, c *client.CommitError) error {
	e := &NodeError{Node: node, Kind: ErrInvalidated, Cause: c,
		Reason: fmt.Sprintf("transaction %s is in a block but invalid: %s", c.TransactionID, c.Code)}
	switch c.Code {
	case peer.TxValidationCode_MVCC_READ_CONFLICT, peer.TxValidationCode_PHANTOM_READ_CONFLICT:
		// Somebody else's transaction came first.
		e.Kind = ErrStale
		return exit.Transient(e)
	}
	return e
}

// classifyHTTP does for the participation API what classify does for gRPC.
func classifyHTTP(ctx context.Context, node string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s: %w", node, context.Canceled)
	}
	cause := err
	for e := err; e != nil; e = errors.Unwrap(e) {
		cause = e                                               // *url.Error repeats the URL and the method
		if _, ok := e.(*tls.CertificateVerificationError); ok { //nolint:errorlint // walking the chain itself
			break
		}
	}
	e := &NodeError{Node: node, Reason: cause.Error(), Cause: err}
	if errors.Is(err, context.DeadlineExceeded) {
		e.Reason = "no answer in time"
	}
	if untrusted(err.Error()) {
		return e
	}
	return exit.Transient(e)
}
