package workflow

import (
	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Cluster is where workflows run; *kube.Client is one.
type Cluster interface {
	Core() kubernetes.Interface
	ToRESTConfig() (*rest.Config, error)
}

// argoCluster is a Cluster that brings its own client of Argo's kinds, as fakes do.
type argoCluster interface {
	Argo() versioned.Interface
}

func argoOf(c Cluster) (versioned.Interface, error) {
	if own, ok := c.(argoCluster); ok {
		return own.Argo(), nil
	}
	config, err := c.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	return versioned.NewForConfig(config)
}

// Resource is what the API server calls workflows.
func Resource() schema.GroupVersionResource { return wfv1.SchemeGroupVersion.WithResource("workflows") }
