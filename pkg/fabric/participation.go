package fabric

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"sort"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/exit"
)

// maxAnswer bounds what an orderer may answer; a list of thousands of channels fits.
const maxAnswer = 8 << 20

// Participation is a client of one orderer's channel participation API.
type Participation struct {
	e      Endpoint
	client *http.Client
}

// ChannelInfo is what an orderer says about a channel it has joined.
type ChannelInfo struct {
	Name     string `json:"name"`
	Relation string `json:"consensusRelation"` // consenter, follower, config-tracker
	Status   string `json:"status"`            // active, onboarding, inactive, failed
	Height   uint64 `json:"height"`
}

// NewParticipation makes a client that proves itself with a TLS certificate, both PEM.
func NewParticipation(e Endpoint, certPEM, keyPEM []byte) (*Participation, error) {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("reading the TLS client certificate for %s: %w", e.Address, err)
	}
	conf, err := e.tlsConfig(cert)
	if err != nil {
		return nil, err
	}
	return &Participation{e: e, client: &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: conf,
			DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) },
		},
		// The admin API never redirects; following would send the block elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Address names the orderer.
func (p *Participation) Address() string { return p.e.Address }

// Close lets go of idle connections.
func (p *Participation) Close() { p.client.CloseIdleConnections() }

// Channels lists the channels the orderer has joined, sorted.
func (p *Participation) Channels(ctx context.Context) ([]string, error) {
	var list struct{ Channels []ChannelInfo }
	if err := p.call(ctx, http.MethodGet, "channels", nil, "", &list); err != nil {
		return nil, err
	}
	var names []string
	for _, c := range list.Channels {
		names = append(names, c.Name)
	}
	sort.Strings(names)
	return names, nil
}

// Channel says how the orderer takes part in a channel; ErrNoChannel if it does not.
func (p *Participation) Channel(ctx context.Context, name string) (*ChannelInfo, error) {
	info := &ChannelInfo{}
	if err := p.call(ctx, http.MethodGet, "channels/"+url.PathEscape(name), nil, "", info); err != nil {
		return nil, err
	}
	return info, nil
}

// Join makes the orderer join the channel of a configuration block, which for a new channel
// is the genesis block; ErrExists if it has joined already.
func (p *Participation) Join(ctx context.Context, block *common.Block) error {
	data, err := proto.Marshal(block)
	if err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("config-block", "config.block")
	if err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	if _, err := part.Write(data); err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	if err := form.Close(); err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	return p.call(ctx, http.MethodPost, "channels", &body, form.FormDataContentType(), nil)
}

func (p *Participation) call(ctx context.Context, method, path string, body io.Reader, contentType string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+p.e.Address+"/participation/v1/"+path, body)
	if err != nil {
		return fmt.Errorf("%s: %w", p.e.Address, err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return classifyHTTP(ctx, p.e.Address, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return classifyHTTP(ctx, p.e.Address, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return participationError(p.e.Address, method, resp, data)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s: reading the orderer's answer: %w", p.e.Address, err)
	}
	return nil
}

// participationError turns an answer into an error by status code, which is all the
// participation API promises.
func participationError(address, method string, resp *http.Response, body []byte) error {
	var said struct{ Error string }
	if json.Unmarshal(body, &said) != nil || said.Error == "" {
		said.Error = resp.Status
	}
	e := &NodeError{Node: address, Reason: said.Error}
	switch {
	case resp.StatusCode == http.StatusNotFound && method == http.MethodGet:
		e.Kind = ErrNoChannel
	case resp.StatusCode == http.StatusMethodNotAllowed && method == http.MethodPost:
		e.Kind = ErrExists
	case resp.StatusCode == http.StatusConflict: // being removed at this moment
		return exit.Transient(e)
	case resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusUnauthorized:
		e.Kind = ErrDenied
	}
	return e
}
