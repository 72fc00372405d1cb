package launcher

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// released is what a package's connection.json becomes on a peer.
func released(t *testing.T, text string, env map[string]string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, connectionFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cert", "key", "root"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("peer's "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	built, out := filepath.Join(dir, "bld"), filepath.Join(dir, "release")
	if err := os.Mkdir(built, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := buildService(dir, built); err != nil {
		return "", err
	}
	err := releaseService(built, out, func(name string) string { return strings.ReplaceAll(env[name], "DIR", dir) })
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(out, "chaincode", "server", connectionFile))
	return string(data), err
}

func ownTLS() map[string]string {
	return map[string]string{
		"CORE_PEER_TLS_CERT_FILE": "DIR/cert", "CORE_PEER_TLS_KEY_FILE": "DIR/key", "CORE_PEER_TLS_ROOTCERT_FILE": "DIR/root",
		"CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG": `{"peername":"org1peer0","port":9999}`,
	}
}

func TestConnection(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, text, want string }{
		"Plain":       {"Nothing is added: the peer has defaults for what is absent.", `{"address":"cc:9999"}`, `{"address":"cc:9999"}`},
		"Timeout":     {"Fabric's own builder keeps it too.", `{"address":"cc:9999","dial_timeout":"10s","tls_required":false}`, `{"address":"cc:9999","dial_timeout":"10s","tls_required":false}`},
		"NoTimeout":   {"Fabric's own builder writes an empty one, which the peer refuses.", `{"address":"cc:9999","dial_timeout":""}`, `{"address":"cc:9999"}`},
		"Nanoseconds": {"The peer takes a number.", `{"address":"cc:9999","dial_timeout":1000000000}`, `{"address":"cc:9999","dial_timeout":1000000000}`},
		"Domain":      {"New in Fabric 3, dropped by its own builder.", `{"address":"cc:9999","domain":"example.com"}`, `{"address":"cc:9999","domain":"example.com"}`},
		"Unknown":     {"A later Fabric may know what we do not.", `{"address":"cc:9999","keepalive":{"x":1}}`, `{"address":"cc:9999","keepalive":{"x":1}}`},
		"Template":    {"As Fabric's own builder resolves it.", `{"address":"{{.peername}}_cc:{{ .port }}","domain":"{{- .peername -}}"}`, `{"address":"org1peer0_cc:9999","domain":"org1peer0"}`},
		"Foreign": {"Certificates in the package stay as they are.", `{"address":"cc:9999","tls_required":true,"client_auth_required":true,"root_cert":"R","client_cert":"C","client_key":"K"}`,
			`{"address":"cc:9999","tls_required":true,"client_auth_required":true,"root_cert":"R","client_cert":"C","client_key":"K"}`},
		"Ours": {"A package for all peers carries no key; each peer has its own.", `{"address":"cc:9999","tls_required":true,"client_auth_required":true,"root_cert":"","client_cert":"","client_key":""}`,
			`{"address":"cc:9999","tls_required":true,"client_auth_required":true,"root_cert":"peer's root","client_cert":"peer's cert","client_key":"peer's key"}`},
		"OnlyRoot": {"A server that knows no clients gets no key to see.", `{"address":"cc:9999","tls_required":true,"root_cert":""}`, `{"address":"cc:9999","tls_required":true,"root_cert":"peer's root"}`},
		"OwnRoot": {"A private CA, and the peer's own pair.", `{"address":"cc:9999","tls_required":true,"client_auth_required":true,"root_cert":"R"}`,
			`{"address":"cc:9999","tls_required":true,"client_auth_required":true,"root_cert":"R","client_cert":"peer's cert","client_key":"peer's key"}`},
		"NoTLS": {"Without TLS nothing is filled in.", `{"address":"cc:9999","tls_required":false,"client_auth_required":true,"root_cert":""}`, `{"address":"cc:9999","tls_required":false,"client_auth_required":true,"root_cert":""}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := released(t, tc.text, ownTLS())
			if err != nil {
				t.Fatalf("%s\n%v", tc.reason, err)
			}
			var got, want any
			if err := json.Unmarshal([]byte(data), &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestConnectionRefuses(t *testing.T) {
	t.Parallel()
	nothing := map[string]string{}
	cases := map[string]struct {
		reason, text string
		env          map[string]string
		want         string
	}{
		"NoJSON":    {"Said at the install.", `{`, nil, "connection.json: unexpected end of JSON input"},
		"Null":      {"Valid, but nothing.", `null`, nil, "connection.json: no address"},
		"NoAddress": {"The peer would say so at the first call.", `{"tls_required":false}`, nil, "connection.json: no address"},
		"NoPort":    {"The peer would dial a host without a port.", `{"address":"cc"}`, nil, `address "cc" is not host:port`},
		"Strings":   {"The example in Fabric's documentation does not parse.", `{"address":"cc:1","tls_required":"true"}`, nil, "cannot unmarshal string into Go struct field settings.tls_required of type bool"},
		"Timeout":   {"Neither do words.", `{"address":"cc:1","dial_timeout":"soon"}`, nil, `dial_timeout "soon" is not a duration`},
		"NoTLS":     {"A custom core.yaml may not pass the peer's files on.", `{"address":"cc:1","tls_required":true}`, nothing, "no root_cert, and the peer does not tell of its own: CORE_PEER_TLS_ROOTCERT_FILE is not set"},
		"Gone":      {"Or name a file that is not there.", `{"address":"cc:1","tls_required":true}`, map[string]string{"CORE_PEER_TLS_ROOTCERT_FILE": "DIR/none"}, "no such file"},
		"Half":      {"A key belongs to a certificate.", `{"address":"cc:1","tls_required":true,"client_auth_required":true,"root_cert":"R","client_cert":"C"}`, nil, "only one of client_cert and client_key"},
		"NoConfig":  {"Fabric's own builder would have the peer dial {{.peername}}.", `{"address":"{{.peername}}:1"}`, nothing, "nobody says what {{.peername}} is"},
		"BadConfig": {"The operator's mistake.", `{"address":"{{.x}}:1"}`, map[string]string{"CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG": "{"}, "CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG: unexpected end"},
		"Endless":   {"A template that calls itself twice keeps a peer busy until the sun burns out.", `{"address":"{{define \"a\"}}{{template \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}:1"}`, nil, "templates within templates"},
		"Call":      {"A width of a million.", `{"address":"{{printf \"%1000000d\" 1}}:1"}`, nil, `function "printf" not defined`},
		"Range":     {"No control structures.", `{"address":"{{range .}}{{.}}{{end}}:1"}`, nil, "is not a reference like"},
		"Broken":    {"Not a template.", `{"address":"{{.peername"}`, nil, "unclosed action"},
		"Large":     {"Three certificates are a few kilobytes.", `{"address":"` + strings.Repeat("x", maxConnection) + `"}`, nil, "are too many"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := tc.env
			if env == nil {
				env = ownTLS()
			}
			got, err := released(t, tc.text, env)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\n%q, %v, want %q", tc.reason, got, err, tc.want)
			}
		})
	}
}

// FuzzConnection: whatever a package brings, the peer gets what it can parse, or the
// install fails, and quickly.
func FuzzConnection(f *testing.F) {
	for _, s := range []string{
		`{"address":"{{.peername}}:1"}`, `{"address":"a:1","dial_timeout":{}}`, `{"address":"a:1","root_cert":7}`,
		`{"address":"{{if .a}}{{end}}:1"}`, `{"Address":"a:1","address":"{{"}`, `[]`, `{"address":"{{/* */}}a:1"}`,
		`{"ADDRESS":"{{.peername}}:1"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		data, err := released(t, text, ownTLS())
		if err != nil {
			return
		}
		var s settings
		if err := json.Unmarshal([]byte(data), &s); err != nil || s.Address == "" {
			t.Errorf("%q became %q: %v", text, data, err)
		}
		if s.TLS && (s.RootCert == "" || s.ClientAuth && (s.ClientKey == "" || s.ClientCert == "")) {
			t.Errorf("%q became %q, which the peer refuses", text, data)
		}
	})
}
