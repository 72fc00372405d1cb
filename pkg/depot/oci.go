package depot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"pivt.io/pivt/pkg/exit"
)

// Scheme begins the address of a package in a registry.
const Scheme = "oci://"

// The artefact is an OCI manifest with an empty configuration and one layer, the package as it
// is; "oras pull" fetches it and "oras push" makes one that Pull takes.
const (
	ArtifactType                 = "application/vnd.pivt.chaincode.package.v1"
	layerType    types.MediaType = "application/vnd.oci.image.layer.v1.tar+gzip"
	emptyType    types.MediaType = "application/vnd.oci.empty.v1+json"
	titleKey                     = "org.opencontainers.image.title"
)

// maxPulled is the largest package a peer takes: Fabric's limit for one message.
const maxPulled = 100 << 20

// manifest is what is sent to a registry, byte for byte.
type manifest []byte

func (m manifest) RawManifest() ([]byte, error)        { return m, nil }
func (m manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// Push stores a package in a registry, under a tag if ref has one, and returns the address that
// will always mean these very bytes. Equal packages get equal addresses.
func Push(ctx context.Context, ref string, pkg []byte, kc authn.Keychain) (pinned string, err error) {
	repo, tag, err := parse(ref)
	if err != nil {
		return "", err
	}
	layer, config := static.NewLayer(pkg, layerType), static.NewLayer([]byte("{}"), emptyType)
	m, err := describe(config, layer)
	if err != nil {
		return "", fmt.Errorf("describing the package: %w", err)
	}
	opts := options(ctx, kc)
	doing := "pushing to " + ref
	for _, l := range []v1.Layer{config, layer} {
		if err := remote.WriteLayer(repo, l, opts...); err != nil {
			return "", registryError(ctx, doing, repo, err)
		}
	}
	digest := repo.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(m)))
	var to name.Reference = digest
	if tag != "" {
		to = repo.Tag(tag)
	}
	if err := remote.Put(to, m, opts...); err != nil {
		return "", registryError(ctx, doing, repo, err)
	}
	return Scheme + digest.Name(), nil
}

func describe(config, layer v1.Layer) (manifest, error) {
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: ArtifactType}
	for _, part := range []struct {
		of   v1.Layer
		into func(v1.Descriptor)
	}{
		{config, func(d v1.Descriptor) { d.Data = []byte("{}"); m.Config = d }},
		{layer, func(d v1.Descriptor) {
			d.Annotations = map[string]string{titleKey: "chaincode.tar.gz"} // the file's name for oras
			m.Layers = []v1.Descriptor{d}
		}},
	} {
		digest, err := part.of.Digest()
		if err != nil {
			return nil, err
		}
		size, err := part.of.Size()
		if err != nil {
			return nil, err
		}
		mediaType, err := part.of.MediaType()
		if err != nil {
			return nil, err
		}
		part.into(v1.Descriptor{MediaType: mediaType, Size: size, Digest: digest})
	}
	return json.Marshal(m)
}

// Pull fetches a package by digest and checks it, so that it does not matter what the registry,
// or whoever is on the way, would rather send.
func Pull(ctx context.Context, pinned string, kc authn.Keychain) ([]byte, error) {
	return pull(ctx, pinned, options(ctx, kc))
}

func pull(ctx context.Context, pinned string, opts []remote.Option) ([]byte, error) {
	repo, _, err := parse(pinned)
	if err != nil {
		return nil, err
	}
	_, digest, ok := strings.Cut(pinned, "@")
	if !ok {
		return nil, exit.With(fmt.Errorf("package %s: it has no digest @sha256:…, and a tag may mean another package tomorrow", pinned), exit.Invalid)
	}
	doing := "pulling " + pinned
	found, err := remote.Get(repo.Digest(digest), opts...)
	if err != nil {
		return nil, registryError(ctx, doing, repo, err)
	}
	m, err := v1.ParseManifest(bytes.NewReader(found.Manifest))
	if err != nil || len(m.Layers) != 1 {
		return nil, fmt.Errorf("%s: it is no chaincode package: its manifest does not name exactly one file", doing)
	}
	wanted := m.Layers[0]
	if wanted.Size < 0 || wanted.Size > maxPulled {
		return nil, failed(ErrTooLarge, "%s: it has %d bytes, and peers take at most %d", doing, wanted.Size, maxPulled)
	}
	layer, err := remote.Layer(repo.Digest(wanted.Digest.String()), opts...)
	if err != nil {
		return nil, registryError(ctx, doing, repo, err)
	}
	body, err := layer.Compressed()
	if err != nil {
		return nil, registryError(ctx, doing, repo, err)
	}
	defer func() { _ = body.Close() }()
	var read bytes.Buffer
	read.Grow(int(wanted.Size) + bytes.MinRead) // packages are large for a small pod, so no copies
	_, err = read.ReadFrom(io.LimitReader(body, wanted.Size+1))
	pkg := read.Bytes()
	if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(pkg)); err == nil && sum != wanted.Digest.String() || int64(len(pkg)) > wanted.Size {
		return nil, failed(ErrSpoiled, "%s: the registry sends something else: its digest is %s", doing, sum)
	}
	if err != nil {
		return nil, registryError(ctx, doing, repo, err)
	}
	return pkg, nil
}

// parse takes an address apart. A tag is "" if there is none or a digest instead.
func parse(ref string) (repo name.Repository, tag string, err error) {
	bare, ok := strings.CutPrefix(ref, Scheme)
	if !ok {
		return repo, "", exit.With(fmt.Errorf("package %q does not begin with %s", ref, Scheme), exit.Invalid)
	}
	// Strict would want a tag as well; without, names of Docker Hub are completed, as people expect.
	r, err := name.ParseReference(bare, name.WithDefaultTag(""))
	if err != nil {
		return repo, "", exit.With(fmt.Errorf("package %s: %w", ref, err), exit.Invalid)
	}
	if t, ok := r.(name.Tag); ok {
		tag = t.TagStr()
	}
	return r.Context(), tag, nil
}

func options(ctx context.Context, kc authn.Keychain) []remote.Option {
	if kc == nil {
		kc = authn.NewMultiKeychain() // nobody
	}
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(kc), remote.WithUserAgent("pivt"), remote.WithTransport(guarded{remote.DefaultTransport}),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Steps: 3}),
	}
}

// guarded sends nothing over plain HTTP but to this machine. The library would fall back to it
// for every private address, and take the credentials along.
type guarded struct{ next http.RoundTripper }

func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !local(r.URL.Hostname()) {
		return nil, fmt.Errorf("%s offers no TLS; plain HTTP is used for registries on localhost only", r.URL.Host)
	}
	return g.next.RoundTrip(r)
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// registryError tells what a registry may answer differently a moment later from what it will not.
func registryError(ctx context.Context, doing string, repo name.Repository, err error) error {
	host := repo.RegistryStr()
	var answer *transport.Error
	var broken net.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &answer):
		return answered(doing, host, answer)
	case strings.Contains(err.Error(), "does not match requested digest"), strings.Contains(err.Error(), "error verifying"):
		return &kindError{text: fmt.Sprintf("%s: the registry sends something else: %v", doing, err), kind: ErrSpoiled, cause: err}
	case strings.Contains(err.Error(), "x509: "):
		return exit.WithHint(fmt.Errorf("%s: %w", doing, err),
			"here, let this machine trust the registry's CA; for the steps, name a ConfigMap with its certificate in registry.caConfigMap")
	case strings.Contains(err.Error(), "offers no TLS"):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &broken), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return exit.Transient(fmt.Errorf("%s: %w", doing, err))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func answered(doing, host string, answer *transport.Error) error {
	said := http.StatusText(answer.StatusCode)
	for _, d := range answer.Errors {
		if d.Message != "" {
			said = d.Message
		}
	}
	text := fmt.Sprintf("%s: %s answers %d: %s", doing, host, answer.StatusCode, said)
	switch {
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return exit.WithHint(&kindError{text: text, kind: ErrDenied, cause: answer},
			fmt.Sprintf("here, log in with \"docker login %s\"; for the steps, name a Secret of type kubernetes.io/dockerconfigjson in registry.secretName", host))
	case answer.StatusCode == http.StatusNotFound:
		return exit.WithHint(&kindError{text: text, kind: ErrAbsent, cause: answer}, `push it with "pivt chaincode push --to oci://…"`)
	case answer.StatusCode == http.StatusTooManyRequests, answer.StatusCode >= http.StatusInternalServerError:
		return exit.Transient(fmt.Errorf("%s", text))
	}
	return fmt.Errorf("%s", text)
}
