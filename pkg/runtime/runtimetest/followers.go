package runtimetest

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// annotationResult is where a build's pod says at which host:port other peers get its output.
const annotationResult = "pivt.io/result"

// AwaitFollowers waits until so many others are connected to the peer that builds. What they
// say comes a moment before, in which the build could end.
func (c *Cluster) AwaitFollowers(n int) {
	c.t.Helper()
	c.Await(fmt.Sprintf("%d followers", n), func() bool {
		for _, p := range c.Pods() {
			if _, port, err := net.SplitHostPort(p.Annotations[annotationResult]); err == nil && p.DeletionTimestamp == nil {
				return connections(port) >= n
			}
		}
		return false
	})
}

// connections counts those to a local port.
func connections(port string) (n int) {
	data, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0
	}
	number, _ := strconv.Atoi(port)
	for line := range strings.Lines(string(data)) {
		const remote, state, established = 2, 3, "01"
		f := strings.Fields(line)
		if len(f) > state && f[state] == established && strings.HasSuffix(f[remote], fmt.Sprintf(":%04X", number)) {
			n++
		}
	}
	return n
}
