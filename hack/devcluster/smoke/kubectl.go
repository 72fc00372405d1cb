package smoke

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// pollEvery is how often a condition is looked at again.
const pollEvery = 300 * time.Millisecond

type kubectl struct {
	program, kubeconfig string
}

func (k kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, k.program, append([]string{"--kubeconfig", k.kubeconfig}, args...)...)
}

// run returns what kubectl printed; its complaint becomes the error.
func (k kubectl) run(ctx context.Context, input string, args ...string) (string, error) {
	cmd := k.command(ctx, args...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, firstLine(complaint.String()))
	}
	return out.String(), nil
}

// in runs kubectl in the namespace of the checks.
func (k kubectl) in(ctx context.Context, args ...string) (string, error) {
	return k.run(ctx, "", append([]string{"-n", Namespace}, args...)...)
}

func (k kubectl) apply(ctx context.Context, manifest string) error {
	_, err := k.run(ctx, manifest, "apply", "-n", Namespace, "-f", "-")
	return err
}

// errTimeout marks a condition that never came true.
var errTimeout = errors.New("timed out")

// wait looks until ok says yes. When time is up, the error carries the last thing seen.
func wait(ctx context.Context, limit time.Duration, ok func(context.Context) (done bool, saw string)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var saw string
	for {
		done, now := ok(ctx)
		if done {
			return nil
		}
		if ctx.Err() == nil {
			saw = now
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("%w after %s; last seen: %s", errTimeout, limit, saw)
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
