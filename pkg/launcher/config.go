package launcher

import (
	"cmp"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/runtime"
	"pivt.io/pivt/pkg/transfer"
)

// Config is launcher.yaml, which the chart hlf-kube writes from its values. What is
// missing in it has a default, as has the whole file.
type Config struct {
	Images Images `json:"images"`
	// DynamicLink is Fabric's chaincode.golang.dynamicLink.
	DynamicLink bool `json:"dynamicLink"`
	// AwaitNetwork holds chaincode back until its peer answers, for clusters whose
	// network policies reach a new pod late.
	AwaitNetwork bool      `json:"awaitNetwork"`
	Build        Build     `json:"build"`
	Chaincode    Chaincode `json:"chaincode"`
	// Chaincodes are parts of pods by chaincode label, or by what stands in it before the
	// last "_", which by custom is the chaincode's name.
	Chaincodes map[string]json.RawMessage `json:"chaincodes"`
}

// Images are the builder and the runtime image of each kind of source.
type Images struct {
	Golang Pair `json:"golang"`
	Java   Pair `json:"java"`
	Node   Pair `json:"node"`
}

// Pair is the image that builds and the one that runs what was built.
type Pair struct {
	Build string `json:"build"`
	Run   string `json:"run"`
}

// Build shapes the pods that build source.
type Build struct {
	Env      []corev1.EnvVar `json:"env"`
	CA       string          `json:"ca"` // PEM, trusted besides the image's own roots
	Timeout  metav1.Duration `json:"timeout"`
	MaxBytes int64           `json:"maxBytes"`
	Pod      json.RawMessage `json:"pod"`
}

// Chaincode shapes the pods that run chaincode.
type Chaincode struct {
	Pod json.RawMessage `json:"pod"`
}

// DefaultConfig builds and runs with Fabric's own images.
func DefaultConfig() Config {
	same := func(image string) Pair { return Pair{Build: image, Run: image} }
	return Config{
		Images: Images{
			Golang: Pair{Build: "hyperledger/fabric-ccenv:3.1", Run: "hyperledger/fabric-baseos:3.1"},
			Java:   same("hyperledger/fabric-javaenv:2.5"),
			Node:   same("hyperledger/fabric-nodeenv:2.5"),
		},
		Build: Build{Timeout: metav1.Duration{Duration: 10 * time.Minute}, MaxBytes: transfer.DefaultLimits().Bytes},
	}
}

// readConfig reads launcher.yaml. Unknown keys are refused: a misspelt limit that limits
// nothing is found out too late.
func readConfig(path string) (Config, error) {
	c := DefaultConfig()
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("reading the launcher's configuration: %w", err)
	}
	var given Config
	err = yaml.UnmarshalStrict(data, &given)
	if err == nil {
		err = given.check()
	}
	if err != nil {
		return c, exit.With(fmt.Errorf("%s: %w", path, err), exit.Invalid)
	}
	return given.over(c), nil
}

func (c *Config) check() error {
	if c.Build.Timeout.Duration < 0 {
		return fmt.Errorf("build.timeout: %s is negative", c.Build.Timeout.Duration)
	}
	if c.Build.MaxBytes < 0 {
		return fmt.Errorf("build.maxBytes: %d is negative", c.Build.MaxBytes)
	}
	if block, _ := pem.Decode([]byte(c.Build.CA)); block == nil && strings.TrimSpace(c.Build.CA) != "" {
		return errors.New("build.ca: no PEM certificate in it")
	}
	for i, e := range c.Build.Env {
		if e.Name == "" {
			return fmt.Errorf("build.env[%d]: no name", i)
		}
	}
	return nil
}

// over fills what is empty from other.
func (c Config) over(other Config) Config {
	for _, p := range [][2]*Pair{
		{&c.Images.Golang, &other.Images.Golang},
		{&c.Images.Java, &other.Images.Java},
		{&c.Images.Node, &other.Images.Node},
	} {
		p[0].Build, p[0].Run = cmp.Or(p[0].Build, p[1].Build), cmp.Or(p[0].Run, p[1].Run)
	}
	c.Build.Timeout.Duration = cmp.Or(c.Build.Timeout.Duration, other.Build.Timeout.Duration)
	c.Build.MaxBytes = cmp.Or(c.Build.MaxBytes, other.Build.MaxBytes)
	return c
}

func (c *Config) images(k kind) Pair {
	switch k {
	case kindGolang:
		return c.Images.Golang
	case kindJava:
		return c.Images.Java
	case kindNode:
		return c.Images.Node
	}
	panic("unreachable: packages of type " + string(k) + " are not built")
}

// limits bound what comes back from a build.
func (c *Config) limits() transfer.Limits {
	l := transfer.DefaultLimits()
	l.Bytes = c.Build.MaxBytes
	return l
}

func (c *Config) buildTemplates() []runtime.Template {
	return templates(runtime.Template{Name: "build.pod", Data: c.Build.Pod})
}

// chaincodeTemplates are those for one label, from the general to the special: the last
// one wins.
func (c *Config) chaincodeTemplates(label string, env func(string) string) []runtime.Template {
	out := []runtime.Template{{Name: "logging", Data: loggingTemplate(env)}, {Name: "chaincode.pod", Data: c.Chaincode.Pod}}
	keys := []string{label}
	if i := strings.LastIndexByte(label, '_'); i > 0 {
		keys = []string{label[:i], label}
	}
	for _, key := range keys {
		out = append(out, runtime.Template{Name: "chaincodes." + key, Data: c.Chaincodes[key]})
	}
	return templates(out...)
}

// templates leaves out those that say nothing.
func templates(all ...runtime.Template) []runtime.Template {
	return slices.DeleteFunc(all, func(t runtime.Template) bool { return len(t.Data) == 0 || string(t.Data) == "null" })
}

// loggingTemplate passes the peer's settings of chaincode logging on, as Fabric's Docker
// builder does (internal/peer/node/start.go), where the peer's environment has them.
func loggingTemplate(env func(string) string) []byte {
	var vars []corev1.EnvVar
	for _, name := range []string{"CORE_CHAINCODE_LOGGING_LEVEL", "CORE_CHAINCODE_LOGGING_SHIM", "CORE_CHAINCODE_LOGGING_FORMAT"} {
		if value := env(name); value != "" {
			vars = append(vars, corev1.EnvVar{Name: name, Value: value})
		}
	}
	if vars == nil {
		return nil
	}
	data, err := json.Marshal(map[string]any{"spec": map[string]any{
		"containers": []map[string]any{{"name": "chaincode", "env": vars}},
	}})
	if err != nil {
		panic("unreachable: marshalling strings: " + err.Error())
	}
	return data
}
