package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// pollEvery is how often a condition is looked at again.
const pollEvery = 200 * time.Millisecond

// api asks the API server the few things up and status want to know.
type api struct{ client *http.Client }

func (l Layout) api() (*api, error) {
	cert, err := tls.LoadX509KeyPair(l.pki("admin.crt"), l.pki("admin.key"))
	if err != nil {
		return nil, fmt.Errorf("loading the administrator's certificate: %w", err)
	}
	ca, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("loading the cluster's authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots}}
	return &api{client: &http.Client{Transport: transport, Timeout: 5 * time.Second}}, nil
}

// get fetches a path; an answer other than 200 is an error.
func (a *api) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+NodeIP+":"+apiPort+path, nil)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return body, nil
}

func (a *api) ready(ctx context.Context) error {
	_, err := a.get(ctx, "/readyz")
	return err
}

// object is what nodes and deployments have in common here.
type object struct {
	Status struct {
		AvailableReplicas int
		Conditions        []struct{ Type, Status, Message string }
	}
}

func (a *api) object(ctx context.Context, path string) (object, error) {
	var o object
	body, err := a.get(ctx, path)
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(body, &o)
}

func (a *api) nodeReady(ctx context.Context) error {
	o, err := a.object(ctx, "/api/v1/nodes/"+nodeName)
	if err != nil {
		return err
	}
	for _, c := range o.Status.Conditions {
		if c.Type == "Ready" && c.Status != "True" {
			return fmt.Errorf("node is not ready: %s", c.Message)
		}
		if c.Type == "Ready" {
			return nil
		}
	}
	return errors.New("node has not reported yet")
}

func (a *api) available(ctx context.Context, d deployment) error {
	o, err := a.object(ctx, "/apis/apps/v1/namespaces/"+d.namespace+"/deployments/"+d.name)
	if err != nil {
		return err
	}
	if o.Status.AvailableReplicas < 1 {
		return fmt.Errorf("deployment %s/%s has no available pod", d.namespace, d.name)
	}
	return nil
}

// wait looks until check is satisfied. When time is up its last complaint is the error. alive may end it early: what has died will not become ready.
func wait(ctx context.Context, limit time.Duration, alive func() error, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not there after %s", limit))
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		if err := alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}
