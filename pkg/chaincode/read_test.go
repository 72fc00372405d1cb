package chaincode_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/network"
)

// pack makes a package of anything.
func pack(t testing.TB, entries ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for i := 0; i+1 < len(entries); i += 2 {
		h := &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}
		switch name := entries[i].(type) {
		case string:
			h.Name = name
		case tar.Header:
			h = &name
		}
		var data []byte
		switch c := entries[i+1].(type) {
		case string:
			data = []byte(c)
		case []byte:
			data = c
		}
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const theirLabel = `{"type":"CCAAS","label":"a_1"}`

func TestRead(t *testing.T) {
	t.Parallel()
	image, err := chaincode.Package(basic(), org())
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		reason string
		pkg    []byte
		want   chaincode.Contents
	}{
		"Image": {
			"What Package wrote.", image,
			chaincode.Contents{Metadata: chaincode.Metadata{Type: "k8s", Label: "basic_1.0"}, Image: &chaincode.Image{Name: "registry:5000/org/basic", Digest: digest}},
		},
		"Service": {
			"Types come in any case, durations as numbers too, and templates stay.",
			pack(t, "metadata.json", theirLabel, "code.tar.gz", pack(t, "./connection.json", `{"address":"{{.peername}}:9999","dial_timeout":3000000000,"tls_required":true,"root_cert":"PEM"}`)),
			chaincode.Contents{
				Metadata:   chaincode.Metadata{Type: "CCAAS", Label: "a_1"},
				Connection: &chaincode.Connection{Address: "{{.peername}}:9999", DialTimeout: "3s", TLSRequired: true, RootCert: "PEM"},
			},
		},
		"CodeFirst": {
			"The order of the two files is free.",
			pack(t, "code.tar.gz", pack(t, "connection.json", `{"address":"a:1"}`), "metadata.json", theirLabel),
			chaincode.Contents{Metadata: chaincode.Metadata{Type: "CCAAS", Label: "a_1"}, Connection: &chaincode.Connection{Address: "a:1"}},
		},
		"Source": {
			"The code of a source package is not looked at.",
			pack(t, "metadata.json", `{"type":"golang","label":"a_1","path":"./x"}`, "code.tar.gz", "no archive"),
			chaincode.Contents{Metadata: chaincode.Metadata{Path: "./x", Type: "golang", Label: "a_1"}},
		},
		"Nothing": {
			"A package may lack what its type needs; the peer that installs it says so.",
			pack(t, "metadata.json", theirLabel, "code.tar.gz", pack(t, "other.json", "{}"), "readme", "x"),
			chaincode.Contents{Metadata: chaincode.Metadata{Type: "CCAAS", Label: "a_1"}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := chaincode.Read(tc.pkg)
			if err != nil {
				t.Fatalf("%s\nRead: %v", tc.reason, err)
			}
			if diff := cmp.Diff(&tc.want, got); diff != "" {
				t.Errorf("%s\nRead: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 300<<20)
	cases := map[string]struct {
		reason string
		pkg    []byte
		want   string
	}{
		"Empty":      {"Nothing is no package.", nil, "not a gzipped archive: EOF"},
		"NotGzip":    {"Nor is text.", []byte("hello, I am a package"), "not a gzipped archive: gzip: invalid header"},
		"NotTar":     {"Nor is a compressed text.", gzipped(t, "hello, I am a package of more than nothing"), "not an archive: unexpected EOF"},
		"Cut":        {"Nor is half of one.", pack(t, "metadata.json", theirLabel)[:60], "not an archive: unexpected EOF"},
		"NoMetadata": {"Fabric needs both files.", pack(t, "code.tar.gz", "x"), "there is no metadata.json"},
		"NoCode":     {"So it does here.", pack(t, "metadata.json", theirLabel), "there is no code.tar.gz"},
		"NotJSON":    {"Metadata is JSON.", pack(t, "metadata.json", "{", "code.tar.gz", ""), "metadata.json: unexpected end of JSON input"},
		"Label":      {"A label becomes a file name on peers.", pack(t, "metadata.json", `{"label":"../a"}`, "code.tar.gz", ""), `label "../a" is not one Fabric takes`},
		"Link":       {"A link may point anywhere.", pack(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "metadata.json", Linkname: "/etc/passwd"}, "", "code.tar.gz", ""), `"metadata.json" is not a regular file`},
		"LargeJSON":  {"Metadata is not read without end.", pack(t, "metadata.json", zeros[:2<<20], "code.tar.gz", ""), "metadata.json has more than 1024 KiB"},
		"Bomb":       {"Nor is the package.", pack(t, "metadata.json", theirLabel, "x", zeros, "code.tar.gz", ""), "not an archive: it unpacks to more than 256 MiB"},
		"InnerBomb":  {"Nor is the code in it.", pack(t, "metadata.json", theirLabel, "code.tar.gz", pack(t, "x", zeros, "connection.json", "{}")), "not an archive: it unpacks to more than 256 MiB"},
		"InnerJSON":  {"A connection is JSON.", pack(t, "metadata.json", theirLabel, "code.tar.gz", pack(t, "connection.json", "[]")), "connection.json: json: cannot unmarshal array into Go value of type chaincode.Connection"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := chaincode.Read(tc.pkg)
			if want := "reading a chaincode package: " + tc.want; err == nil || err.Error() != want {
				t.Errorf("%s\nRead: %v\nwant %s", tc.reason, err, want)
			}
		})
	}
}

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadManyEntries(t *testing.T) {
	t.Parallel()
	var entries []any
	for range 10_001 {
		entries = append(entries, "x", "")
	}
	_, err := chaincode.Read(pack(t, entries...))
	if err == nil || !strings.HasSuffix(err.Error(), "it has more than 10000 entries") {
		t.Errorf("Read: %v", err)
	}
}

// FuzzRead gives Read whatever a peer may have installed.
func FuzzRead(f *testing.F) {
	f.Add(pack(f, "metadata.json", theirLabel, "code.tar.gz", pack(f, "connection.json", `{"address":"a:1"}`)))
	f.Add(pack(f, "code.tar.gz", pack(f, "image.json", `{"name":"a"}`), "metadata.json", `{"type":"k8s","label":"a_1"}`))
	source, err := chaincode.PackageSource(source("node", ""), tree(map[string]string{"package.json": start}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(source)
	f.Fuzz(func(t *testing.T, pkg []byte) {
		c, err := chaincode.Read(pkg)
		if (c == nil) == (err == nil) {
			t.Fatalf("Read = %+v, %v", c, err)
		}
		if err == nil && c.Metadata.Label == "" {
			t.Error("a package without a label")
		}
	})
}

func TestPackageService(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		service network.Service
		want    string
	}{
		"Elsewhere": {
			"The address is the user's.", network.Service{Address: "cc.ns:9999", TLS: network.NoTLS},
			`{"address":"cc.ns:9999","dial_timeout":"10s","tls_required":false,"client_auth_required":false}`,
		},
		"Here": {
			"Each organisation has a server of its own.", network.Service{Image: "cc@" + digest, Port: 7052, TLS: network.ServerTLS},
			`{"address":"hlf-chaincode--org1--basic:7052","dial_timeout":"10s","tls_required":true,"client_auth_required":false}`,
		},
		"Mutual": {
			"No key and no certificate is in the package; the launcher adds the peer's own.", network.Service{Address: "[::1]:1", TLS: network.MutualTLS},
			`{"address":"[::1]:1","dial_timeout":"10s","tls_required":true,"client_auth_required":true}`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pkg, err := chaincode.Package(&network.Chaincode{Name: "basic", Version: "1.0", Service: &tc.service}, org())
			if err != nil {
				t.Fatal(err)
			}
			meta, files, _ := unpack(t, pkg)
			if meta != `{"type":"ccaas","label":"basic_1.0"}` || files["connection.json"] != tc.want || len(files) != 1 {
				t.Errorf("%s\nmetadata.json = %s, files = %v\nwant connection.json = %s", tc.reason, meta, files, tc.want)
			}
			c, err := chaincode.Read(pkg)
			if err != nil || c.Connection == nil || !strings.Contains(tc.want, `"`+c.Connection.Address+`"`) {
				t.Errorf("Read = %+v, %v", c, err)
			}
		})
	}
}
