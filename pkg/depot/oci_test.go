package depot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"pivt.io/pivt/pkg/depot"
	"pivt.io/pivt/pkg/exit"
)

// shop is a registry on this machine. Its front may answer in the registry's place.
type shop struct {
	host  string
	front atomic.Pointer[func(http.ResponseWriter, *http.Request, http.Handler)]
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{}
	back := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if front := s.front.Load(); front != nil {
			(*front)(w, r, back)
			return
		}
		back.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	return s
}

func (s *shop) answer(front func(http.ResponseWriter, *http.Request, http.Handler)) {
	s.front.Store(&front)
}

type login struct{ user, password string }

func (l login) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: l.user, Password: l.password}, nil
}

func TestPushAndPull(t *testing.T) {
	t.Parallel()
	s, pkg := newShop(t), content(1, 3000*kib)
	ref := "oci://" + s.host + "/chaincode/basic:1.0"
	pinned, err := depot.Push(t.Context(), ref, pkg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(pinned, "oci://"+s.host+"/chaincode/basic@sha256:") {
		t.Errorf("Push = %s, want an address by digest", pinned)
	}
	for _, again := range []string{ref, "oci://" + s.host + "/chaincode/basic", pinned} {
		if got, err := depot.Push(t.Context(), again, pkg, nil); err != nil || got != pinned {
			t.Errorf("Push of the same to %s = %s, %v; want the same address", again, got, err)
		}
	}
	got, err := depot.Pull(t.Context(), pinned, nil)
	if err != nil || !bytes.Equal(got, pkg) {
		t.Fatalf("Pull = %d bytes, %v; want the %d that were pushed", len(got), err, len(pkg))
	}
	// The tag is there for people, and what it means is a plain artefact.
	tag, err := name.ParseReference(s.host + "/chaincode/basic:1.0")
	if err != nil {
		t.Fatal(err)
	}
	found, err := remote.Get(tag)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(pinned, found.Digest.String()) {
		t.Errorf("the tag means %s, and Push says %s", found.Digest, pinned)
	}
	for _, want := range []string{`"artifactType":"application/vnd.pivt.chaincode.package.v1"`, `"mediaType":"application/vnd.oci.empty.v1+json"`,
		`"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip"`, `"mediaType":"application/vnd.oci.image.manifest.v1+json"`} {
		if !strings.Contains(string(found.Manifest), want) {
			t.Errorf("the manifest lacks %s:\n%s", want, found.Manifest)
		}
	}
}

func TestPullRefuses(t *testing.T) {
	t.Parallel()
	blob := func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet
	}
	manifest := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
	instead := func(which func(*http.Request) bool, status int, body string) func(*shop, *string) {
		return func(s *shop, _ *string) {
			s.answer(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if !which(r) {
					next.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
		}
	}
	cases := map[string]struct {
		reason  string
		arrange func(s *shop, pinned *string)
		kind    error
		code    exit.Code
		says    string
		hint    string
	}{
		"OtherFile": {"A registry must not get code into peers that nobody approved.", instead(blob, 200, string(content(2, 100*kib))),
			depot.ErrSpoiled, exit.Failed, "sends something else", ""},
		"ShortFile":     {"Nor half of it.", instead(blob, 200, "half"), depot.ErrSpoiled, exit.Failed, "sends something else", ""},
		"LongFile":      {"Nor more, without end.", instead(blob, 200, string(content(1, 101*kib))), depot.ErrSpoiled, exit.Failed, "sends something else", ""},
		"OtherManifest": {"The digest is the manifest's.", instead(manifest, 200, "{}"), depot.ErrSpoiled, exit.Failed, "sends something else", ""},
		"Gone":          {"Somebody cleaned the registry.", instead(blob, 404, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}`), depot.ErrAbsent, exit.Failed, "blob unknown", "pivt chaincode push --to oci://"},
		"Absent": {"A typing error, or not pushed yet.", func(s *shop, p *string) { *p = strings.Replace(*p, "basic", "basics", 1) },
			depot.ErrAbsent, exit.Failed, "answers 404", "pivt chaincode push --to oci://"},
		"NoLogin": {"The pod has no credentials.", instead(func(*http.Request) bool { return true }, 401, ""),
			depot.ErrDenied, exit.Failed, "answers 401", "registry.secretName"},
		"NoRight": {"It has, but they do not reach that far.", instead(manifest, 403, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`),
			depot.ErrDenied, exit.Failed, "requested access to the resource is denied", "registry.secretName"},
		"Down":       {"The registry restarts.", instead(manifest, 503, ""), nil, exit.TryAgain, "answers 503", ""},
		"Overloaded": {"Public registries count calls.", instead(manifest, 429, ""), nil, exit.TryAgain, "answers 429", ""},
		"Cut": {"The connection breaks in the middle.", func(s *shop, _ *string) {
			s.answer(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if !blob(r) {
					next.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Length", fmt.Sprint(100*kib))
				_, _ = w.Write(make([]byte, 10*kib))
				panic(http.ErrAbortHandler)
			})
		}, nil, exit.TryAgain, "unexpected EOF", ""},
		"NobodyThere": {"Nothing listens yet.", func(_ *shop, p *string) { *p = "oci://127.0.0.1:1/basic@sha256:" + strings.Repeat("a", 64) },
			nil, exit.TryAgain, "connection refused", ""},
		"Tag":      {"A tag may mean other code tomorrow.", func(s *shop, p *string) { *p = "oci://" + s.host + "/chaincode/basic:1.0" }, nil, exit.Invalid, "has no digest", ""},
		"NoScheme": {"It might be a file.", func(s *shop, p *string) { *p = strings.TrimPrefix(*p, "oci://") }, nil, exit.Invalid, "does not begin with oci://", ""},
		"Digest":   {"A cut digest.", func(_ *shop, p *string) { *p = (*p)[:len(*p)-3] }, nil, exit.Invalid, "sha256", ""},
		"Image": {"An image has several layers.", func(s *shop, p *string) {
			img, _ := random.Image(100, 3)
			ref, _ := name.ParseReference(s.host + "/an/image:1")
			if remote.Write(ref, img) == nil {
				d, _ := img.Digest()
				*p = "oci://" + s.host + "/an/image@" + d.String()
			}
		}, nil, exit.Failed, "is no chaincode package", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			pinned, err := depot.Push(t.Context(), "oci://"+s.host+"/chaincode/basic:1.0", content(1, 100*kib), nil)
			if err != nil {
				t.Fatal(err)
			}
			tc.arrange(s, &pinned)
			_, err = depot.Pull(t.Context(), pinned, nil)
			if err == nil || tc.kind != nil && !errors.Is(err, tc.kind) || exit.CodeOf(err) != tc.code ||
				!strings.Contains(err.Error(), tc.says) || !strings.Contains(exit.HintOf(err), tc.hint) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s\nPull: %v (code %d, hint %q)\nwant %v, code %d, %q and hint %q", tc.reason, err, exit.CodeOf(err), exit.HintOf(err), tc.kind, tc.code, tc.says, tc.hint)
			}
		})
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.answer(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret word" {
			w.Header().Set("WWW-Authenticate", `Basic realm="shop"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
	ref := "oci://" + s.host + "/basic:1"
	pinned, err := depot.Push(t.Context(), ref, []byte("package"), login{"me", "secret word"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := depot.Pull(t.Context(), pinned, login{"me", "secret word"}); err != nil {
		t.Error(err)
	}
	for _, kc := range []authn.Keychain{nil, login{"me", "wrong word"}} {
		_, pull := depot.Pull(t.Context(), pinned, kc)
		_, push := depot.Push(t.Context(), ref, []byte("other"), kc)
		for _, err := range []error{pull, push} {
			if !errors.Is(err, depot.ErrDenied) || strings.Contains(err.Error(), "word") {
				t.Errorf("with %v: %v; want it denied, without the password", kc, err)
			}
		}
	}
}

// A private address is no proof that nobody listens on the way.
func TestPlainHTTPStaysHere(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"10.255.255.1:5000", "registry.local:5000"} {
		ctx, cancel := context.WithCancel(t.Context())
		seen := make(chan string, 10)
		_, err := depot.PullThrough(ctx, "oci://"+host+"/basic@sha256:"+strings.Repeat("a", 64), func(r *http.Request) (*http.Response, error) {
			seen <- r.URL.Scheme
			return nil, errors.New("no TLS here")
		})
		cancel()
		close(seen)
		for scheme := range seen {
			if scheme != "https" {
				t.Errorf("%s: something was sent by %s", host, scheme)
			}
		}
		// Where the library would fall back to plain HTTP, people should hear why we do not.
		if err == nil || strings.HasPrefix(host, "10.") && !strings.Contains(err.Error(), "plain HTTP is used for registries on localhost only") {
			t.Errorf("%s: %v; want to hear why plain HTTP is not used", host, err)
		}
	}
}

func TestUnknownCA(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	way := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}}
	_, err := depot.PullThrough(t.Context(), "oci://registry.example.com/basic@sha256:"+strings.Repeat("a", 64), way.RoundTrip)
	if err == nil || exit.IsTransient(err) || !strings.Contains(err.Error(), "x509") || !strings.Contains(exit.HintOf(err), "registry.caConfigMap") {
		t.Errorf("a registry whose CA nobody knows: %v (transient %t, hint %q)", err, exit.IsTransient(err), exit.HintOf(err))
	}
}
