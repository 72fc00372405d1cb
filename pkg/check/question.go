package check

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
	"pivt.io/pivt/pkg/pki"
	"pivt.io/pivt/pkg/workflow"
)

// Result is the answer to one question of a check.
type Result struct {
	Category string `json:"category"` // files, cluster, Argo, permissions, certificates, nodes, channels, chaincodes, backups
	Title    string `json:"title"`
	OK       bool   `json:"ok"`
	// Warning marks a failure that does not keep the network from working.
	Warning bool   `json:"warning,omitempty"`
	Detail  string `json:"detail,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Failed reports whether the result is a failure that counts.
func (r Result) Failed() bool { return !r.OK && !r.Warning }

// soon is how long before a certificate's end check warns.
const soon = 30 * 24 * time.Hour

// Pre answers what must hold before install: the cluster and the rights in it.
func Pre(ctx context.Context, k *kube.Client) []Result {
	first := cluster(ctx, k)
	if !first.OK { // it would only be said three times
		return []Result{first}
	}
	return []Result{first, argo(ctx, k), permissions(ctx, k)}
}

func cluster(ctx context.Context, k *kube.Client) Result {
	r := Result{Category: "cluster", Title: "the API server answers"}
	v, err := k.ServerVersion(ctx)
	if err != nil {
		r.Detail, r.Hint = err.Error(), exit.HintOf(err)
		if r.Hint == "" {
			r.Hint = "choose another cluster with --context or --kubeconfig"
		}
		return r
	}
	r.OK, r.Detail = true, "Kubernetes "+v.GitVersion
	return r
}

func argo(ctx context.Context, k *kube.Client) Result {
	r := Result{Category: "Argo", Title: "the cluster knows workflows"}
	err := workflow.Available(ctx, k)
	switch {
	case errors.Is(err, workflow.ErrNoArgo):
		r.Detail = "resource " + workflow.Resource().GroupResource().String() + " is missing"
		r.Hint = "install Argo Workflows: " + workflow.InstallHint
	case err != nil:
		r.Detail = err.Error()
	default:
		r.OK = true
	}
	return r
}

// needed are the rights that install uses, Helm's part of it included.
func needed() []kube.Access {
	all := []kube.Access{
		{Verb: "get", Resource: "secrets"},
		{Verb: "list", Resource: "secrets"},
		{Verb: "create", Resource: "secrets"},
		{Verb: "update", Resource: "secrets"},
		{Verb: "patch", Resource: "secrets"},
		{Verb: "get", Resource: "configmaps"},
		{Verb: "list", Resource: "configmaps"},
		{Verb: "create", Resource: "configmaps"},
		{Verb: "patch", Resource: "configmaps"},
		{Verb: "delete", Resource: "configmaps"},
		{Verb: "list", Group: "apps", Resource: "statefulsets"},
		{Verb: "watch", Group: "apps", Resource: "statefulsets"},
		{Verb: "list", Resource: "pods"},
		{Verb: "watch", Resource: "pods"},
		{Verb: "get", Resource: "pods", Subresource: "log"},
		{Verb: "create", Resource: "pods", Subresource: "portforward"},
		{Verb: "create", Group: "argoproj.io", Resource: "workflows"},
		{Verb: "list", Group: "argoproj.io", Resource: "workflows"},
		{Verb: "watch", Group: "argoproj.io", Resource: "workflows"},
	}
	// Who makes a Role must have what it grants: see role hlf-backup of chart hlf-kube.
	for _, verb := range []string{"create", "get", "delete"} {
		all = append(all, kube.Access{Verb: verb, Group: "batch", Resource: "jobs"},
			kube.Access{Verb: verb, Resource: "persistentvolumeclaims"},
			kube.Access{Verb: verb, Group: "snapshot.storage.k8s.io", Resource: "volumesnapshots"})
	}
	for _, made := range []kube.Access{
		{Resource: "services"}, {Resource: "serviceaccounts"},
		{Group: "apps", Resource: "statefulsets"}, {Group: "apps", Resource: "deployments"},
		{Group: "policy", Resource: "poddisruptionbudgets"},
		{Group: "rbac.authorization.k8s.io", Resource: "roles"},
		{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"},
		{Group: "networking.k8s.io", Resource: "networkpolicies"},
	} {
		for _, made.Verb = range []string{"get", "create", "patch", "delete"} {
			all = append(all, made)
		}
	}
	return all
}

func permissions(ctx context.Context, k *kube.Client) Result {
	r := Result{Category: "permissions", Title: "you may install in namespace " + k.Namespace()}
	all := needed()
	_, err := k.Core().CoreV1().Namespaces().Get(ctx, k.Namespace(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		all = append(all, kube.Access{Verb: "create", Resource: "namespaces", ClusterWide: true})
	}
	var missing []string
	for _, a := range all {
		ok, err := k.Can(ctx, a)
		if err != nil {
			r.Detail, r.Hint = err.Error(), exit.HintOf(err)
			return r
		}
		if !ok {
			missing = append(missing, a.String())
		}
	}
	if r.OK = len(missing) == 0; !r.OK {
		r.Detail = "missing: " + strings.Join(missing, ", ")
		r.Hint = "ask for a Role with these verbs in the namespace"
		if slices.Contains(missing, "create namespaces") {
			r.Hint = "ask for the namespace, and for a Role in it with the other verbs that are missing"
		}
	}
	return r
}

// Certificates answers how long the nodes' certificates last.
func Certificates(n *network.Network, m *pki.Material, now time.Time) []Result {
	var out []Result
	for _, node := range n.Nodes() {
		om := m.Orgs[node.Org.Name]
		if om == nil || om.Nodes[node.Hostname] == nil {
			out = append(out, Result{Category: "certificates", Title: node.CommonName + " has certificates", Detail: "there are none", Hint: "pivt crypto generate"})
			continue
		}
		nm := om.Nodes[node.Hostname]
		for _, c := range []struct {
			what string
			pem  []byte
		}{{"TLS certificate", nm.TLS.CertPEM}, {"certificate", nm.MSP.CertPEM}} {
			if r, bad := expiry(node.CommonName+": "+c.what, c.pem, now); bad {
				out = append(out, r)
			}
		}
	}
	if len(out) == 0 {
		out = []Result{{Category: "certificates", Title: "all certificates are valid for 30 days and more", OK: true}}
	}
	return out
}

func expiry(title string, data []byte, now time.Time) (Result, bool) {
	r := Result{Category: "certificates", Title: title}
	block, _ := pem.Decode(data)
	if block == nil {
		r.Detail = "is not PEM"
		return r, true
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		r.Detail = err.Error()
		return r, true
	}
	left := cert.NotAfter.Sub(now)
	switch {
	case left <= 0:
		r.Detail = "expired on " + cert.NotAfter.Format(time.DateOnly)
	case now.Before(cert.NotBefore):
		r.Detail = "is not valid before " + cert.NotBefore.Format(time.RFC3339) + "; is this machine's clock right?"
	case left < soon:
		r.Warning, r.Detail = true, "expires on "+cert.NotAfter.Format(time.DateOnly)
	default:
		return r, false
	}
	return r, true
}

// Results turns a status into answers, one for each node, channel and chaincode.
func (s *Status) Results() []Result {
	var out []Result
	for _, n := range s.Nodes {
		cure := "kubectl -n " + s.Namespace + " describe pod " + n.Name + "-0"
		if n.Reason == notInstalled {
			cure = "pivt install"
		}
		if n.Held != nil {
			cure = n.Held.Cure
		}
		out = append(out, Result{Category: "nodes", Title: n.Name + " is ready", OK: n.Ready, Detail: n.Reason, Hint: hint(n.Ready, cure)})
	}
	for _, c := range s.Channels {
		joined := 0
		for _, p := range c.Peers {
			if p.Joined {
				joined++
			}
		}
		ok := c.complete()
		out = append(out, Result{Category: "channels", Title: fmt.Sprintf("%s has %s", c.Name, peersOf(len(c.Peers))), OK: ok,
			Detail: detail(c.Reason, ok, fmt.Sprintf("%d joined", joined)), Hint: hint(ok, "pivt channel apply "+c.Name)})
	}
	for _, c := range s.Chaincodes {
		out = append(out, Result{Category: "chaincodes", Title: c.Name + " runs on " + c.Channel, OK: c.Ready, Detail: c.Reason,
			Hint: hint(c.Ready, "pivt chaincode install "+c.Name)})
	}
	if b := s.Backup; b != nil && b.LastFailure != nil && (b.LastVerified == nil || b.LastFailure.Time.After(b.LastVerified.Time)) {
		out = append(out, Result{Category: "backups", Title: "the last backup succeeded", Warning: true, Detail: b.LastFailure.Key + ": " + b.LastFailure.Message,
			Hint: "pivt backup create"})
	}
	return out
}

func peersOf(n int) string {
	if n == 1 {
		return "its peer"
	}
	return fmt.Sprintf("all %d peers", n)
}

func hint(ok bool, h string) string {
	if ok {
		return ""
	}
	return h
}

func detail(reason string, ok bool, otherwise string) string {
	if reason != "" || ok {
		return reason
	}
	return otherwise
}
