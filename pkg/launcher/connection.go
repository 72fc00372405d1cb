package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template/parse"
	"time"

	"pivt.io/pivt/pkg/exit"
)

// connectionFile says where the server of a chaincode is. Name and content are Fabric's.
const connectionFile = "connection.json"

// maxConnection is far more than three certificates need.
const maxConnection = 1 << 20

// connection is connection.json as it came: what is not there stays absent, since the
// peer has defaults for what is absent only, and what we do not know goes through.
type connection map[string]json.RawMessage

func readConnection(path string) (connection, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing; a package of type %s or %s has the address of its server there", connectionFile, kindService, kindExternal)
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxConnection {
		return nil, fmt.Errorf("%s: %d bytes are too many", connectionFile, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var c connection
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", connectionFile, err)
	}
	if c.text("dial_timeout") == "" {
		// Fabric's own builder writes an empty one, which the peer then rejects.
		if raw, found := c["dial_timeout"]; found && string(raw) == `""` {
			delete(c, "dial_timeout")
		}
	}
	return c, nil
}

// buildService refuses at the install what the peer would only refuse at the first call.
// What depends on the peer is checked by release.
func buildService(source, output string) error {
	c, err := readConnection(filepath.Join(source, connectionFile))
	if err != nil {
		return exit.With(err, exit.Invalid)
	}
	if _, err := c.settings(); err != nil {
		return exit.With(err, exit.Invalid)
	}
	if err := writeJSON(filepath.Join(output, connectionFile), c); err != nil {
		return fmt.Errorf("writing %s: %w", connectionFile, err)
	}
	return nil
}

func (c connection) text(key string) string {
	var s string
	_ = json.Unmarshal(c[key], &s) // not a string is no text
	return s
}

func (c connection) set(key, value string) {
	data, err := json.Marshal(value)
	if err != nil {
		panic("unreachable: marshalling a string: " + err.Error())
	}
	c[key] = data
}

// settings are what Fabric reads (core/container/externalbuilder/instance.go).
type settings struct {
	Address    string `json:"address"`
	Domain     string `json:"domain"`
	Timeout    any    `json:"dial_timeout"`
	TLS        bool   `json:"tls_required"`
	ClientAuth bool   `json:"client_auth_required"`
	ClientKey  string `json:"client_key"`
	ClientCert string `json:"client_cert"`
	RootCert   string `json:"root_cert"`
}

// settings fails where the peer would fail to parse the file.
func (c connection) settings() (settings, error) {
	var s settings
	data, err := json.Marshal(c)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", connectionFile, err) // names field and type, not the content
	}
	if s.Address == "" {
		return s, fmt.Errorf("%s: no address", connectionFile)
	}
	return s, nil
}

// check fails where the peer would refuse the file.
func (c connection) check() error {
	s, err := c.settings()
	if err != nil {
		return err
	}
	if _, port, err := net.SplitHostPort(s.Address); err != nil || port == "" {
		return fmt.Errorf("%s: address %q is not host:port", connectionFile, s.Address)
	}
	switch t := s.Timeout.(type) {
	case nil, float64:
	case string:
		if _, err := time.ParseDuration(t); err != nil {
			return fmt.Errorf("%s: dial_timeout %q is not a duration", connectionFile, t)
		}
	default:
		return fmt.Errorf("%s: dial_timeout is not a duration", connectionFile)
	}
	switch {
	case !s.TLS:
		return nil
	case s.RootCert == "":
		return fmt.Errorf("%s: tls_required, but no root_cert", connectionFile)
	case s.ClientAuth && (s.ClientCert == "" || s.ClientKey == ""):
		return fmt.Errorf("%s: client_auth_required, but only one of client_cert and client_key", connectionFile)
	}
	return nil
}

// fillTLS puts the peer's own TLS files where the package asks for TLS and brings no
// certificates. Such packages are made for servers that pivt runs: a package is the same
// for all peers and carries no key. They are copies, so a peer that gets new certificates
// has to install again; a root seldom changes.
func (c connection) fillTLS(env func(string) string) error {
	s, err := c.settings()
	if err != nil || !s.TLS {
		return err
	}
	files := map[string]string{}
	if s.RootCert == "" {
		files["root_cert"] = "CORE_PEER_TLS_ROOTCERT_FILE"
	}
	if s.ClientAuth && s.ClientCert == "" && s.ClientKey == "" {
		files["client_cert"], files["client_key"] = "CORE_PEER_TLS_CERT_FILE", "CORE_PEER_TLS_KEY_FILE"
	}
	for _, key := range []string{"root_cert", "client_cert", "client_key"} {
		variable, wanted := files[key]
		if !wanted {
			continue
		}
		path := env(variable)
		if path == "" {
			return exit.WithHint(fmt.Errorf("%s: tls_required, but no %s, and the peer does not tell of its own: %s is not set", connectionFile, key, variable),
				"put the certificate into the package, or let the peer pass on "+variable+" (chaincode.externalBuilders[].propagateEnvironment)")
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s: %s from %s: %w", connectionFile, key, variable, err)
		}
		c.set(key, string(data))
	}
	return nil
}

// resolve replaces references such as {{.peername}} by what the peer's configuration of
// Fabric's ccaas builder says, in all texts. References are all that is used of Go's
// template language; the rest of it could keep the peer busy for ever.
func (c connection) resolve(env func(string) string) error {
	values := map[string]any{}
	if given := env("CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"); given != "" {
		if err := json.Unmarshal([]byte(given), &values); err != nil {
			return fmt.Errorf("CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG: %w", err)
		}
	}
	for key := range c {
		text := c.text(key)
		if !strings.Contains(text, "{{") {
			continue
		}
		out, err := expand(text, values)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", connectionFile, key, err)
		}
		c.set(key, out)
	}
	return nil
}

func expand(text string, values map[string]any) (string, error) {
	trees, err := parse.Parse("value", text, "", "")
	if err != nil {
		return "", err
	}
	tree := trees["value"]
	if tree == nil || len(trees) != 1 {
		return "", errors.New("templates within templates are not supported")
	}
	var out strings.Builder
	for _, n := range tree.Root.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			out.Write(n.Text)
		case *parse.ActionNode:
			name := reference(n)
			if name == "" {
				return "", fmt.Errorf("%s is not a reference like {{.peername}}", n)
			}
			value, found := values[name]
			if !found {
				return "", exit.WithHint(fmt.Errorf("nobody says what %s is", n),
					"set it in the peer's CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG")
			}
			fmt.Fprint(&out, value)
		default:
			return "", fmt.Errorf("%s is not a reference like {{.peername}}", n)
		}
		if out.Len() > maxConnection {
			return "", errors.New("too long")
		}
	}
	return out.String(), nil
}

// reference is the name in an action that is nothing but one.
func reference(n *parse.ActionNode) string {
	if len(n.Pipe.Decl) != 0 || len(n.Pipe.Cmds) != 1 || len(n.Pipe.Cmds[0].Args) != 1 {
		return ""
	}
	field, ok := n.Pipe.Cmds[0].Args[0].(*parse.FieldNode)
	if !ok || len(field.Ident) != 1 {
		return ""
	}
	return field.Ident[0]
}
