package smoke

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
)

//go:embed workloads.yaml
var workloads string

//go:embed workflow.yaml
var workflow string

//go:embed policy.yaml
var policies string

const greeting = "hello from the volume"

func (s *session) namespace(ctx context.Context) error {
	_, err := s.run(ctx, `apiVersion: v1
kind: Namespace
metadata:
  name: `+Namespace+`
  labels:
    pod-security.kubernetes.io/enforce: restricted
`, "create", "-f", "-")
	if err != nil {
		return err
	}
	// Pods are refused until the controller manager has made the namespace's default account.
	return wait(ctx, 30*time.Second, func(ctx context.Context) (bool, string) {
		_, err := s.in(ctx, "get", "serviceaccount", "default")
		return err == nil, fmt.Sprint(err)
	})
}

// refused shows that the namespace does enforce: otherwise every later success would prove nothing.
func (s *session) refused(ctx context.Context) error {
	_, err := s.in(ctx, "run", "privileged", "--image="+s.options.Image, "--privileged", "--restart=Never")
	if err == nil {
		return fmt.Errorf("a privileged pod was admitted")
	}
	if !strings.Contains(err.Error(), "violates PodSecurity") {
		return fmt.Errorf("a privileged pod was refused for another reason: %w", err)
	}
	return nil
}

func (s *session) workloads(ctx context.Context) error {
	if err := s.apply(ctx, strings.NewReplacer("IMAGE", s.options.Image, "GREETING", greeting).Replace(workloads)); err != nil {
		return err
	}
	for _, pod := range []string{"server", "friend", "stranger"} {
		if err := s.waitPod(ctx, pod); err != nil {
			return err
		}
	}
	phase, err := s.in(ctx, "get", "pvc", "data", "-o", "jsonpath={.status.phase}")
	if err != nil {
		return err
	}
	if phase != "Bound" {
		return fmt.Errorf("claim data is %s, want Bound", phase)
	}
	return nil
}

func (s *session) waitPod(ctx context.Context, name string) error {
	err := wait(ctx, 60*time.Second, func(ctx context.Context) (bool, string) {
		out, err := s.in(ctx, "get", "pod", name, "-o",
			`jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.phase} {.status.containerStatuses[*].state.waiting}`)
		return strings.HasPrefix(out, "True "), fmt.Sprint(out, errText(err))
	})
	if err != nil {
		warnings, _ := s.in(context.WithoutCancel(ctx), "get", "events", "--field-selector=type=Warning", "-o", `jsonpath={range .items[*]}{"; "}{.message}{end}`)
		return fmt.Errorf("waiting for pod/%s: %w%s", name, err, warnings)
	}
	return nil
}

// service looks the Service's name up and asks it by address: Debian's static busybox resolves names in nslookup, which speaks DNS itself,
// while its wget would need glibc's shared libraries.
func (s *session) service(ctx context.Context) error {
	address, err := s.in(ctx, "get", "service", "server", "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return err
	}
	name := "server." + Namespace + ".svc.cluster.local"
	err = wait(ctx, 20*time.Second, func(ctx context.Context) (bool, string) {
		out, err := s.in(ctx, "exec", "friend", "--", "nslookup", name)
		return err == nil && strings.Contains(out, address), fmt.Sprintf("%q%s", out, errText(err))
	})
	if err != nil {
		return fmt.Errorf("looking up %s, which is %s: %w", name, address, err)
	}
	s.server = address
	return wait(ctx, 20*time.Second, func(ctx context.Context) (bool, string) { return s.reaches(ctx, "friend") })
}

// reaches says whether a pod gets the greeting from the server.
func (s *session) reaches(ctx context.Context, from string) (bool, string) {
	out, err := s.in(ctx, "exec", from, "--", "timeout", "2", "wget", "-q", "-O", "-", "http://"+s.server+":8080/")
	return err == nil && strings.TrimSpace(out) == greeting, fmt.Sprintf("%q%s", out, errText(err))
}

func (s *session) logs(ctx context.Context) error {
	return wait(ctx, 10*time.Second, func(ctx context.Context) (bool, string) {
		out, err := s.in(ctx, "logs", "server")
		return strings.Contains(out, "serving"), fmt.Sprintf("%q%s", out, errText(err))
	})
}

var forwarding = regexp.MustCompile(`Forwarding from 127\.0\.0\.1:(\d+)`)

func (s *session) portForward(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := s.command(ctx, "port-forward", "-n", Namespace, "service/server", ":8080")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("connecting to kubectl: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting kubectl: %w", err)
	}
	defer func() {
		cancel() // kills it; that it was killed is no news
		_ = cmd.Wait()
	}()
	port, err := forwardedPort(out)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port+"/", nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return fmt.Errorf("asking through the forwarded port: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading through the forwarded port: %w", err)
	}
	if got := strings.TrimSpace(string(body)); got != greeting {
		return fmt.Errorf("the forwarded port answered %q, want %q", got, greeting)
	}
	return nil
}

// forwardedPort reads kubectl's output up to the line that names the local port.
func forwardedPort(out io.Reader) (string, error) {
	var seen []byte
	buf := make([]byte, 512)
	for {
		n, err := out.Read(buf)
		seen = append(seen, buf[:n]...)
		if m := forwarding.FindSubmatch(seen); m != nil {
			return string(m[1]), nil
		}
		if err != nil {
			return "", fmt.Errorf("kubectl port-forward ended after %q: %w", seen, err)
		}
	}
}

func (s *session) workflow(ctx context.Context) error {
	manifest := strings.ReplaceAll(workflow, "IMAGE", s.options.Image)
	if err := s.apply(ctx, manifest); err != nil {
		return err
	}
	return wait(ctx, 120*time.Second, func(ctx context.Context) (bool, string) {
		out, err := s.in(ctx, "get", "workflow", "one-step", "-o", "jsonpath={.status.phase} {.status.message}")
		return strings.HasPrefix(out, "Succeeded"), fmt.Sprintf("workflow %s%s", out, errText(err))
	})
}

// networkPolicy denies everything to the server, sees both pods locked out, lets one in, and sees that only that one gets through.
func (s *session) networkPolicy(ctx context.Context) error {
	deny, allow, found := strings.Cut(policies, "\n---\n")
	if !found {
		panic("unreachable: policy.yaml holds two documents")
	}
	if ok, saw := s.reaches(ctx, "stranger"); !ok {
		return fmt.Errorf("before any policy the stranger does not reach the server: %s", saw)
	}
	if err := s.apply(ctx, deny); err != nil {
		return err
	}
	for _, pod := range []string{"friend", "stranger"} {
		if err := wait(ctx, 30*time.Second, s.locked(pod)); err != nil {
			return fmt.Errorf("%s still reaches the server although all is denied: %w", pod, err)
		}
	}
	if err := s.apply(ctx, allow); err != nil {
		return err
	}
	if err := wait(ctx, 30*time.Second, func(ctx context.Context) (bool, string) { return s.reaches(ctx, "friend") }); err != nil {
		return fmt.Errorf("friend does not reach the server although it is allowed: %w", err)
	}
	if blocked, _ := s.locked("stranger")(ctx); !blocked {
		return fmt.Errorf("stranger reaches the server although only the friend is allowed")
	}
	return nil
}

func (s *session) locked(pod string) func(context.Context) (bool, string) {
	return func(ctx context.Context) (bool, string) {
		_, err := s.in(ctx, "exec", pod, "--", "true")
		if err != nil {
			// A pod that cannot run anything proves nothing.
			return false, err.Error()
		}
		ok, saw := s.reaches(ctx, pod)
		return !ok, saw
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}
