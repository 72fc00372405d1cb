package smoke

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func TestForwardedPort(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		output string
		want   string
	}{
		"IPv4": {
			reason: "The port is chosen by kubectl, and only this line tells it.",
			output: "Forwarding from 127.0.0.1:43127 -> 8080\nForwarding from [::1]:43127 -> 8080\n",
			want:   "43127",
		},
		"Ended": {
			reason: "Output without the line means that kubectl gave up.",
			output: "error: unable to forward port\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := forwardedPort(iotest.HalfReader(strings.NewReader(tc.output)))
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("%s\nforwardedPort: got %q, %v; want %q", tc.reason, got, err, tc.want)
			}
		})
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		err := wait(t.Context(), time.Minute, func(context.Context) (bool, string) {
			looks++
			return looks == 3, "not yet"
		})
		if err != nil || looks != 3 {
			t.Errorf("a condition that comes true at the third look: got %v after %d looks", err, looks)
		}

		err = wait(t.Context(), time.Second, func(context.Context) (bool, string) { return false, "pod Pending" })
		if !errors.Is(err, errTimeout) || !strings.Contains(err.Error(), "pod Pending") {
			t.Errorf("a condition that never comes true: got %v, want a timeout that tells what was seen last", err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := wait(ctx, time.Second, func(context.Context) (bool, string) { return false, "" }); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled wait: got %v, want %v", err, context.Canceled)
		}
	})
}
