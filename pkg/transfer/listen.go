package transfer

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// listen takes a free port of the range, beginning anywhere in it: the next process on this
// host must not meet the tickets of the last.
func listen(o Options, random io.Reader) (net.Listener, error) {
	host := cmp.Or(o.Host, "127.0.0.1")
	if o.FirstPort == 0 && o.LastPort == 0 {
		return listenAt(host, 0)
	}
	count := o.LastPort - o.FirstPort + 1
	if count < 1 || o.FirstPort < 1 || o.LastPort > 1<<16-1 {
		return nil, fmt.Errorf("%d to %d is no range of ports", o.FirstPort, o.LastPort)
	}
	raw := make([]byte, 4)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, fmt.Errorf("choosing a port: %w", err)
	}
	begin := int(uint32(raw[0])<<24|uint32(raw[1])<<16|uint32(raw[2])<<8|uint32(raw[3])) % count
	var last error
	for i := range count {
		l, err := listenAt(host, o.FirstPort+(begin+i)%count)
		if err == nil {
			return l, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no free port from %d to %d: %w", o.FirstPort, o.LastPort, last)
}

func listenAt(host string, port int) (net.Listener, error) {
	var c net.ListenConfig
	return c.Listen(context.Background(), "tcp", net.JoinHostPort(host, fmt.Sprint(port)))
}

// serve answers on l until the server is closed.
func serve(l net.Listener, config *tls.Config, h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // one stream per connection: nothing to multiplex
	server := &http.Server{
		Handler:           h,
		TLSConfig:         config,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       stall,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // anybody may knock
	}
	go func() { _ = server.ServeTLS(l, "", "") }()
	return server
}
