package pod

import (
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
	"k8s.io/client-go/kubernetes/fake"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/depot"
	"pivt.io/pivt/pkg/network"
)

func TestPackages(t *testing.T) {
	t.Parallel()
	maps := fake.NewClientset().CoreV1().ConfigMaps("fabric")
	if _, err := depot.Put(t.Context(), maps, "fromsource_2.0", []byte("built by the CLI"), false); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	pinned, err := depot.Push(t.Context(), "oci://"+strings.TrimPrefix(server.URL, "http://")+"/cc", []byte("from a registry"), authn.DefaultKeychain)
	if err != nil {
		t.Fatal(err)
	}
	image := &network.Chaincode{Name: "basic", Version: "1.0", Image: "example.com/cc@sha256:" + strings.Repeat("1", 64)}
	fromImage, err := chaincode.Package(image, &network.Org{Name: "Org1"})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		reason string
		cc     *network.Chaincode
		maps   error // of asking for ConfigMaps
		want   string
		err    error
	}{
		"Source":   {"Packaged once, by the CLI.", &network.Chaincode{Name: "fromsource", Version: "2.0", Source: "src"}, nil, "built by the CLI", nil},
		"Absent":   {"helm template | argo submit without a push.", &network.Chaincode{Name: "fromsource", Version: "3.0", Source: "src"}, nil, "", depot.ErrAbsent},
		"Registry": {"Too large for ConfigMaps.", &network.Chaincode{Name: "big", Version: "1.0", Package: pinned}, nil, "from a registry", nil},
		"Image":    {"Made from the file; a step of an image needs no right in Kubernetes.", image, errors.New("no service account"), string(fromImage), nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := packages{keychain: authn.DefaultKeychain, maps: func() (typed.ConfigMapInterface, error) { return maps, tc.maps }}
			got, err := p.get(t.Context(), tc.cc, &network.Org{Name: "Org1"})
			if string(got) != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("%s\ngot %q, %v; want %q, %v", tc.reason, got, err, tc.want, tc.err)
			}
		})
	}
}
