//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

// nothingSecret looks for what is secret where it must not be: in all objects of the namespace but
// Secrets, in the logs of its pods, and in the repositories' files.
func (v *vault) nothingSecret(claims ...string) {
	v.t.Helper()
	secrets := v.secrets()
	if len(secrets) < 10 {
		v.t.Fatalf("only %d secrets are known; keys of all nodes should be", len(secrets))
	}
	look := func(where string, data []byte) {
		for name, secret := range secrets {
			if bytes.Contains(data, secret) {
				v.t.Errorf("%s contains %s", where, name)
			}
		}
	}
	ctx := context.Background()
	rest, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	v.must(err)
	client := dynamic.NewForConfigOrDie(rest)
	objects := 0
	for _, r := range []schema.GroupVersionResource{
		{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}, {Group: "argoproj.io", Version: "v1alpha1", Resource: "workflowtaskresults"},
		{Group: "argoproj.io", Version: "v1alpha1", Resource: "cronworkflows"}, {Version: "v1", Resource: "pods"}, {Version: "v1", Resource: "configmaps"},
		{Version: "v1", Resource: "events"}, {Group: "batch", Version: "v1", Resource: "jobs"}, {Group: "apps", Version: "v1", Resource: "statefulsets"},
	} {
		list, err := client.Resource(r).Namespace(v.ns).List(ctx, metav1.ListOptions{})
		v.must(err)
		for _, o := range list.Items {
			// The S3 server of the test is told its own key by its pod.
			if o.GetLabels()["app"] == "s3" {
				continue
			}
			data, err := o.MarshalJSON()
			v.must(err)
			look(r.Resource+"/"+o.GetName(), data)
			objects++
		}
	}
	logs := 0
	for name, p := range v.pods("") {
		for _, c := range p.Spec.Containers {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			data, err := v.core.CoreV1().Pods(v.ns).GetLogs(name, &corev1.PodLogOptions{Container: c.Name}).DoRaw(ctx)
			cancel()
			if err == nil {
				look(fmt.Sprintf("the log of %s, container %s,", name, c.Name), data)
				logs++
			}
		}
	}
	secrets["the word of a value on the ledger"] = []byte("b00000")
	secrets["an organisation's name"] = []byte("Org1MSP")
	files := 0
	for _, claim := range claims {
		v.must(filepath.WalkDir(v.directory(claim), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			look("the repository's "+filepath.Base(path), data)
			files++
			return err
		}))
	}
	v.t.Logf("%d objects, %d logs and %d files looked at for %d secrets", objects, logs, files, len(secrets))
	if objects < 20 || logs < 7 || files < 10 {
		v.t.Errorf("too little was looked at to prove anything: %d objects, %d logs, %d files", objects, logs, files)
	}
}

// secrets are the passwords of the test and a line of every private key of the network.
func (v *vault) secrets() map[string][]byte {
	v.t.Helper()
	all := map[string][]byte{"the repository's password": []byte(v.password), "the storage's key": []byte(v.secret)}
	v.must(filepath.WalkDir(filepath.Join(v.dir, "crypto-config"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(data, []byte("PRIVATE KEY")) {
			return err
		}
		lines := strings.Split(string(data), "\n")
		all["the key "+filepath.Base(path)+" of "+filepath.Base(filepath.Dir(filepath.Dir(path)))] = []byte(lines[2])
		return nil
	}))
	return all
}
