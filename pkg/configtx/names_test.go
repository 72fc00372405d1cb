package configtx_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// names stands in for the cluster's DNS: an HTTP proxy that orderers are told of by
// environment, and that leads the Services of the block to ports of this machine.
type names struct {
	addr string
	set  func(name, addr string)
}

func newNames(t *testing.T) *names {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	table := make(chan map[string]string, 1)
	table <- map[string]string{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				r, err := http.ReadRequest(in)
				if err != nil || r.Method != http.MethodConnect {
					return
				}
				known := <-table
				addr := known[r.Host]
				table <- known
				out, err := net.Dial("tcp", addr)
				if err != nil {
					_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
					return
				}
				defer func() { _ = out.Close() }()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
				go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
				_, _ = io.Copy(conn, out)
			}()
		}
	}()
	return &names{addr: l.Addr().String(), set: func(name, addr string) {
		known := <-table
		known[strings.ToLower(name)] = addr
		table <- known
	}}
}
