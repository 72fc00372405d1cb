package launcher_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func servicePackage(kind, connection string) pkg {
	return pkg{
		metadata: `{"type":"` + kind + `","label":"server_1.0"}`,
		files: map[string]string{
			"connection.json": connection,
			"META-INF/statedb/couchdb/indexes/owner.json":             "{}",
			"META-INF/statedb/couchdb/collections/c/indexes/own.json": "{}",
		},
	}
}

// TestService installs the packages of chaincode servers: the peer never calls run for
// them, so all it needs is in the release directory.
func TestService(t *testing.T) {
	t.Parallel()
	tls := t.TempDir()
	write(t, tls, map[string]string{"cert": "CERT", "key": "KEY", "root": "ROOT"})
	for _, kind := range []string{"ccaas", "CCAAS", "external"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, nil)
			p.env["CORE_PEER_TLS_CERT_FILE"] = filepath.Join(tls, "cert")
			p.env["CORE_PEER_TLS_KEY_FILE"] = filepath.Join(tls, "key")
			p.env["CORE_PEER_TLS_ROOTCERT_FILE"] = filepath.Join(tls, "root")
			p.env["CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"] = `{"peername":"org1peer0"}`
			durable, err := p.install(servicePackage(kind, `{"address":"{{.peername}}_server:9999","dial_timeout":"10s","tls_required":true,"client_auth_required":true,"root_cert":"","client_cert":"","client_key":""}`))
			if err != nil {
				t.Fatalf("%v: %v", err, p.logged())
			}
			want := []string{
				"chaincode/server/connection.json",
				"statedb/couchdb/collections/c/indexes/own.json",
				"statedb/couchdb/indexes/owner.json",
			}
			if got := files(t, filepath.Join(durable, "release")); !slices.Equal(got, want) {
				t.Errorf("release holds %v, want %v", got, want)
			}
			// Fabric's own reading of the file, with its names and types.
			var c struct {
				Address            string `json:"address"`
				DialTimeout        string `json:"dial_timeout"`
				TLSRequired        bool   `json:"tls_required"`
				ClientAuthRequired bool   `json:"client_auth_required"`
				ClientKey          string `json:"client_key"`
				ClientCert         string `json:"client_cert"`
				RootCert           string `json:"root_cert"`
			}
			path := filepath.Join(durable, "release", "chaincode", "server", "connection.json")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			if c.Address != "org1peer0_server:9999" || c.DialTimeout != "10s" || !c.TLSRequired || !c.ClientAuthRequired ||
				c.RootCert != "ROOT" || c.ClientCert != "CERT" || c.ClientKey != "KEY" {
				t.Errorf("connection.json: %+v", c)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v: it holds the peer's key", info.Mode())
			}
			// The key is for the peer's eyes: what stays of the build has none.
			if data, err := os.ReadFile(filepath.Join(durable, "bld", "connection.json")); err != nil || strings.Contains(string(data), "KEY") {
				t.Errorf("the build's copy: %q, %v", data, err)
			}
		})
	}
}

func TestServiceRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason, connection, step, want string
	}{
		"NoFile":  {"The file is what the type is about.", "", "build: ", "package server_1.0: connection.json is missing; a package of type ccaas or external has the address of its server there"},
		"Strings": {"Fabric's documentation shows it, Fabric refuses it at the first call.", `{"address":"a:1","tls_required":"true"}`, "build: ", "tls_required of type bool"},
		"NoTLS":   {"A peer whose TLS nobody tells of.", `{"address":"a:1","tls_required":true}`, "release: ", "Hint:  put the certificate into the package, or let the peer pass on CORE_PEER_TLS_ROOTCERT_FILE"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, nil)
			in := servicePackage("ccaas", tc.connection)
			if tc.connection == "" {
				delete(in.files, "connection.json")
			}
			_, err := p.install(in)
			if err == nil || !strings.HasPrefix(err.Error(), tc.step) || !p.hasLogged(tc.want) {
				t.Errorf("%s\ninstall = %v; log %v; want %q", tc.reason, err, p.logged(), tc.want)
			}
		})
	}
}

// TestServiceRun is a peer that lost its release directory: it would take the chaincode
// for one to be started.
func TestServiceRun(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	durable, err := p.install(servicePackage("ccaas", `{"address":"a:1"}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.launch(durable, info(), true).wait(); err == nil || !p.hasLogged("its chaincode is a server, which the peer dials and does not start") {
		t.Errorf("run = %v, log %v", err, p.logged())
	}
}
