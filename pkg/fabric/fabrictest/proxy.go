package fabrictest

import (
	"bufio"
	"io"
	"net/http"
)

// readConnect reads a proxy request and returns the address it asks for and what follows it.
func readConnect(c io.Reader) (target string, rest io.Reader, err error) {
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return "", nil, err
	}
	if req.Method != http.MethodConnect {
		return "", nil, errNotConnect
	}
	return req.Host, r, nil
}
