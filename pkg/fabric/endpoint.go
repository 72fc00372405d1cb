package fabric

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// maxMessage is Fabric's own limit for one message, 100 MiB.
const maxMessage = 100 << 20

// Endpoint is where a node listens and how to tell that it is the right one.
type Endpoint struct {
	Address    string   // host:port, also the node's name in messages
	ServerName string   // name in the node's TLS certificate; default the host of Address
	Roots      [][]byte // PEM certificates of the CAs that may have issued it
	// Dial opens connections, for instance through a port-forward. Default is TCP to Address.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

func (e Endpoint) tlsConfig(certs ...tls.Certificate) (*tls.Config, error) {
	pool := x509.NewCertPool()
	for _, pem := range e.Roots {
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: a TLS CA certificate is not PEM", e.Address)
		}
	}
	if len(e.Roots) == 0 {
		// An empty pool would make Go trust the system's CAs.
		return nil, fmt.Errorf("%s: no TLS CA certificate is known for this node", e.Address)
	}
	name := e.ServerName
	if name == "" {
		host, _, err := net.SplitHostPort(e.Address)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", e.Address, err)
		}
		name = host
	}
	return &tls.Config{RootCAs: pool, ServerName: name, Certificates: certs, MinVersion: tls.VersionTLS12}, nil
}

func (e Endpoint) dial(ctx context.Context) (net.Conn, error) {
	if e.Dial != nil {
		return e.Dial(ctx, e.Address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", e.Address)
}

// connect prepares a connection; it is opened by the first call that uses it.
func (e Endpoint) connect() (*grpc.ClientConn, error) {
	if e.Address == "" {
		return nil, errors.New("endpoint without an address")
	}
	conf, err := e.tlsConfig()
	if err != nil {
		return nil, err
	}
	// Passthrough: the dialer below may know addresses that no resolver does.
	conn, err := grpc.NewClient("passthrough:///"+e.Address,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return e.dial(ctx) }),
		grpc.WithTransportCredentials(credentials.NewTLS(conf)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		// A node that starts is there within a second; gRPC's default pause grows to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// An install may take many minutes of silence, and a machine that dies says nothing
		// either. Nodes take it ill to be asked more than once a minute.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 2 * time.Minute, Timeout: 20 * time.Second}))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", e.Address, err)
	}
	return conn, nil
}
