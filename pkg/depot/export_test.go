package depot

import (
	"context"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// PullThrough is Pull with another way to the network behind the guard.
func PullThrough(ctx context.Context, pinned string, way func(*http.Request) (*http.Response, error)) ([]byte, error) {
	return pull(ctx, pinned, append(options(ctx, nil), remote.WithTransport(guarded{roundTripper(way)})))
}
