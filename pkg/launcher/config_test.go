package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/runtime"
)

func configOf(t *testing.T, text string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "launcher.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readConfig(file)
}

func TestReadConfig(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		text   string
		change func(*Config) // of the defaults
	}{
		"Empty": {"A file without content changes nothing.", "", func(*Config) {}},
		"Part": {"What is not said keeps its default.", "images: {golang: {build: example.com/ccenv:1}}\ndynamicLink: true\nawaitNetwork: true",
			func(c *Config) {
				c.Images.Golang.Build, c.DynamicLink, c.AwaitNetwork = "example.com/ccenv:1", true, true
			}},
		"Build": {"All about builds.", "build: {env: [{name: GOPROXY, value: \"off\"}], timeout: 90s, maxBytes: 7, ca: \"-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----\\n\"}",
			func(c *Config) {
				c.Build.Env = []corev1.EnvVar{{Name: "GOPROXY", Value: "off"}}
				c.Build.Timeout.Duration, c.Build.MaxBytes = 90*time.Second, 7
				c.Build.CA = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
			}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := DefaultConfig()
			tc.change(&want)
			got, err := configOf(t, tc.text)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s\n%v; -want, +got:\n%s", tc.reason, err, diff)
			}
		})
	}
}

func TestReadConfigMissing(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", filepath.Join(t.TempDir(), "launcher.yaml")} {
		got, err := readConfig(path)
		if diff := cmp.Diff(DefaultConfig(), got); err != nil || diff != "" {
			t.Errorf("readConfig(%q): %v, %s; a peer that mounts nothing has the defaults", path, err, diff)
		}
	}
}

func TestReadConfigRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, text, want string }{
		"Typo":      {"A misspelt key would change nothing, silently.", "image: {}", `unknown field "image"`},
		"TypoDeep":  {"At every depth.", "images: {golang: {builder: x}}", `unknown field "builder"`},
		"Twice":     {"One of the two would win.", "dynamicLink: true\ndynamicLink: false", `"dynamicLink" already set`},
		"NoYAML":    {"Tabs happen.", "build:\n\tx", "found character that cannot start any token"},
		"Duration":  {"A number has no unit.", "build: {timeout: soon}", `invalid duration "soon"`},
		"Negative":  {"Every build would end before it begins.", "build: {timeout: -1s}", "build.timeout: -1s is negative"},
		"Bytes":     {"Nor can a size be.", "build: {maxBytes: -1}", "build.maxBytes: -1 is negative"},
		"NoCA":      {"A path, say, where the text of the certificate belongs.", "build: {ca: /etc/ca.crt}", "build.ca: no PEM certificate"},
		"NoEnvName": {"The API server would refuse the pod, at the next install.", "build: {env: [{value: x}]}", "build.env[0]: no name"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := configOf(t, tc.text)
			if exit.CodeOf(err) != exit.Invalid || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "launcher.yaml: ") {
				t.Errorf("%s\n%v, want %q", tc.reason, err, tc.want)
			}
		})
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	c, err := configOf(t, `
chaincode: {pod: {a: 1}}
build: {pod: {b: 1}}
chaincodes: {basic: {c: 1}, basic_1.0: {d: 1}, my: {e: 1}, my_cc: {f: 1}, none: null}`)
	if err != nil {
		t.Fatal(err)
	}
	none := func(string) string { return "" }
	level := func(name string) string {
		if name == "CORE_CHAINCODE_LOGGING_LEVEL" {
			return "debug"
		}
		return ""
	}
	of := func(pairs ...string) (out []runtime.Template) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, runtime.Template{Name: pairs[i], Data: []byte(pairs[i+1])})
		}
		return out
	}
	all := []string{"chaincode.pod", `{"a":1}`}
	cases := map[string]struct {
		reason string
		got    []runtime.Template
		want   []runtime.Template
	}{
		"Build":      {"Builds have one for all.", c.buildTemplates(), of("build.pod", `{"b":1}`)},
		"Label":      {"The label comes last, so it wins over the name.", c.chaincodeTemplates("basic_1.0", none), of(append(all, "chaincodes.basic", `{"c":1}`, "chaincodes.basic_1.0", `{"d":1}`)...)},
		"Name":       {"The next version has what the name has.", c.chaincodeTemplates("basic_2.0", none), of(append(all, "chaincodes.basic", `{"c":1}`)...)},
		"Underscore": {"Names may hold the separator.", c.chaincodeTemplates("my_cc_1", none), of(append(all, "chaincodes.my_cc", `{"f":1}`)...)},
		"Other":      {"Nothing is said of others.", c.chaincodeTemplates("other", none), of(all...)},
		"Null":       {"A key without value says nothing.", c.chaincodeTemplates("none", none), of(all...)},
		"Logging": {"The peer's settings come first: everybody may change them.", c.chaincodeTemplates("x", level), of(append([]string{"logging",
			`{"spec":{"containers":[{"env":[{"name":"CORE_CHAINCODE_LOGGING_LEVEL","value":"debug"}],"name":"chaincode"}]}}`}, all...)...)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, tc.got); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}
