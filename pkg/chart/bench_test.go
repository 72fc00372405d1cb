package chart

import (
	"fmt"
	"strings"
	"testing"

	"pivt.io/pivt/pkg/network"
)

// sizes are orgs x peers x channels x chaincodes; the last two are where PIVT needed 745
// and 4,500 pods, and could not submit the latter's workflow.
var sizes = [][4]int{{2, 1, 1, 1}, {8, 3, 5, 5}, {10, 4, 10, 10}}

// What both flows together may cost at 10x4x10x10, and how deep they are at any size.
const (
	maxPods        = 250
	maxBytes       = 150_000
	channelDepth   = 3
	chaincodeDepth = 4
)

func scaledValues(t testing.TB, size [4]int) map[string]any {
	t.Helper()
	v, err := network.Values(scaled(size[0], size[1], size[2], size[3]), nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestFlowsStaySmall(t *testing.T) {
	t.Parallel()
	for _, size := range sizes {
		pods, bytes := 0, 0
		values := scaledValues(t, size)
		for name, want := range map[string]int{ChannelFlow: channelDepth, ChaincodeFlow: chaincodeDepth} {
			out := mustRender(t, name, values)
			wf := decode(t, out)
			pods += len(tasks(t, wf))
			bytes += len(out)
			if got := depth(t, wf); got != want {
				t.Errorf("%v: %s is %d pods deep, want %d", size, name, got, want)
			}
		}
		if pods > maxPods || bytes > maxBytes {
			t.Errorf("%v: both flows have %d pods and %d bytes; the limits are %d and %d", size, pods, bytes, maxPods, maxBytes)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	for _, name := range Names() {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("%s/%s", name, strings.Trim(strings.ReplaceAll(fmt.Sprint(size), " ", "x"), "[]")), func(b *testing.B) {
				values := scaledValues(b, size)
				out := mustRender(b, name, values)
				b.ReportAllocs()
				for b.Loop() {
					mustRender(b, name, values)
				}
				b.ReportMetric(float64(len(out)), "bytes")
				if name == Network {
					b.ReportMetric(float64(len(workloads(b, out))), "pods")
					return
				}
				wf := decode(b, out)
				b.ReportMetric(float64(len(tasks(b, wf))), "pods")
				b.ReportMetric(float64(depth(b, wf)), "depth")
			})
		}
	}
}
