//go:build e2e

package runtime

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkBuiltLaunch compares, in one run and alternately, how long a bare pod takes to its first
// line with how long a launch of built code takes.
func BenchmarkBuiltLaunch(b *testing.B) {
	r := realCluster(b)
	p := r.builder(node)
	const rounds = 5
	took := map[string][]time.Duration{}
	first := func(run func(ctx context.Context, log *buffer)) time.Duration {
		ctx, stop := context.WithCancel(b.Context())
		var log buffer
		begun := time.Now()
		done := make(chan struct{})
		go func() { defer close(done); run(ctx, &log) }()
		for log.String() == "" && time.Since(begun) < time.Minute {
			time.Sleep(5 * time.Millisecond)
		}
		d := time.Since(begun)
		stop()
		<-done
		r.awaitEmpty()
		return d
	}
	for i := range rounds {
		// The bare pod is one of ours that nobody watches but for its log.
		took["bare"] = append(took["bare"], first(func(ctx context.Context, log *buffer) {
			o := Options{Output: log}.withDefaults()
			j := newJob(r.client, p, o)
			cc := chaincode("bare")
			cc.Image, cc.RootCert, cc.ClientCert, cc.ClientKey = realImage(), "", "", ""
			j.name, j.main, j.voice = fmt.Sprintf("bare-%d", i), containerName, containerName
			j.want = pod(&p, &cc, j.name, &o)
			j.want.Spec.Containers[0].Command = []string{"/bin/sh", "-c", "echo ready; exec sleep 300"}
			made, err := j.create(ctx, false)
			if err != nil {
				b.Error(err)
				return
			}
			_, ended := j.watchOver(ctx, made)
			<-ended
			_ = j.cleanUp()
		}))
		took["built"] = append(took["built"], first(func(ctx context.Context, log *buffer) {
			cc := programOf(b, "echo ready; exec sleep 300")
			cc.Image = realImage()
			if err := Run(ctx, r.client, p, cc, Options{Output: log, Image: realPivt()}); err != nil {
				b.Error(err)
			}
		}))
	}
	median := func(name string) time.Duration {
		slices.Sort(took[name])
		return took[name][rounds/2]
	}
	bare, built := median("bare"), median("built")
	b.Logf("to the first line, medians of %d: bare pod %s, built chaincode %s (%v)", rounds, bare, built, took)
	b.ReportMetric(built.Seconds(), "s/launch")
	b.ReportMetric(bare.Seconds(), "s/pod")
	b.ReportMetric(float64(built)/float64(bare), "launch/pod")
}
