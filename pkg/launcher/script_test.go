package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// builder is a builder image as far as its scripts see it: every absolute path in a
// script is moved below root, and the tools only tell how they were called.
type builder struct {
	t    *testing.T
	root string
	env  []string
}

func newBuilder(t *testing.T, files map[string]string) *builder {
	t.Helper()
	b := &builder{t: t, root: t.TempDir()}
	b.env = []string{"PATH=" + b.root + "/bin:/usr/bin:/bin", "GOPATH=/go", "RECORD=" + b.root + "/record"}
	for _, dir := range []string{"chaincode/input/src", "chaincode/output", "tmp", "bin", "workdir", "root"} {
		if err := os.MkdirAll(filepath.Join(b.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go", "npm", "gradle", "mvn", "keytool"} {
		b.add("bin/"+name, recorder)
	}
	for name, text := range files {
		b.add(name, text)
	}
	return b
}

// recorder tells its name, where it is called, what it makes of the environment, and every
// argument on a line of its own. Build tools leave what they are known to leave.
const recorder = `#!/bin/sh
{
	echo "$(basename "$0") in $PWD"
	if [ -n "$GO111MODULE" ]; then echo "GO111MODULE=$GO111MODULE GOPATH=$GOPATH"; fi
	if [ -n "$SSL_CERT_FILE" ]; then echo "roots:" $(cat "$SSL_CERT_FILE"); fi
	for arg; do echo "<$arg>"; done
} >>"$RECORD"
case "$(basename "$0")" in
gradle | gradlew) mkdir -p build/libs; echo gradle >build/libs/chaincode.jar ;;
mvn | mvnw) mkdir -p target; echo maven >target/chaincode.jar ;;
keytool) while [ $# -gt 0 ]; do if [ "$1" = -file ]; then cat "$2" >>"$RECORD"; fi; shift; done ;;
esac
`

func (b *builder) add(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	mode := os.FileMode(0o644)
	if strings.HasPrefix(text, "#!") {
		mode = 0o755
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
}

var absolute = regexp.MustCompile(`(^|[\s"'=(:>])(/(?:chaincode|tmp|etc|root|usr/local)/)`)

// run runs a script and returns what the tools recorded, with root cut out of it.
func (b *builder) run(script string) (record string, err error) {
	b.t.Helper()
	cmd := exec.Command("/bin/sh", "-c", absolute.ReplaceAllString(script, "${1}"+b.root+"${2}"))
	cmd.Env, cmd.Dir = b.env, filepath.Join(b.root, "workdir")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out.String())
	}
	data, readErr := os.ReadFile(filepath.Join(b.root, "record"))
	if readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
		b.t.Fatal(readErr)
	}
	return strings.ReplaceAll(string(data), b.root, ""), err
}

// called is the record of one call of go.
func called(dir, env string, args ...string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "go in %s\n%s\n<build>\n<-v>\n", dir, env)
	for _, arg := range args {
		fmt.Fprintf(&out, "<%s>\n", arg)
	}
	return out.String()
}

func TestScriptGolang(t *testing.T) {
	t.Parallel()
	const src = "/chaincode/input/src"
	const module, gopath = "GO111MODULE=on GOPATH=/go", "GO111MODULE=off GOPATH=/chaincode/input:/go"
	static := []string{"-ldflags", "-linkmode external -extldflags '-static'", "-o", "/chaincode/output/chaincode"}
	args := func(mod string, rest ...string) []string {
		var out []string
		if mod != "" {
			out = append(out, "-mod="+mod)
		}
		return append(append(out, static...), rest...)
	}
	cases := map[string]struct {
		reason string
		files  []string
		path   string
		want   string
	}{
		"Module":       {"Dependencies come from the proxy, and go.mod stays as it is.", []string{"go.mod"}, "example.com/cc", called(src, module, args("readonly", "example.com/cc")...)},
		"Vendor":       {"Vendored dependencies need no proxy.", []string{"go.mod", "vendor/modules.txt"}, "example.com/cc/sub", called(src, module, args("vendor", "example.com/cc/sub")...)},
		"VendorIsFile": {"Only a directory is a vendor directory.", []string{"go.mod", "vendor"}, ".", called(src, module, args("readonly", ".")...)},
		"NoPath":       {"Without a path the package is the module's root.", []string{"go.mod"}, "", called(src, module, args("readonly")...)},
		"Sub":          {"A module in a directory of the package.", []string{"cc/go.mod"}, "cc", called(src+"/cc", module, args("readonly", ".")...)},
		"SubVendor":    {"The same with its dependencies.", []string{"a b/go.mod", "a b/vendor/modules.txt"}, "a b", called(src+"/a b", module, args("vendor", ".")...)},
		"GOPATH":       {"What has no go.mod is an import path, as before modules.", []string{"example.com/cc/main.go"}, "example.com/cc", called("/workdir", gopath, args("", "example.com/cc")...)},
		"Semicolon":    {"Fabric's own script would run the second command.", []string{"go.mod"}, "x; go injected", called(src, module, args("readonly", "x; go injected")...)},
		"Dollar":       {"Or this one.", []string{"go.mod"}, "$(go injected)", called(src, module, args("readonly", "$(go injected)")...)},
		"Backquote":    {"Or this one.", []string{"x.go"}, "`go injected`", called("/workdir", gopath, args("", "`go injected`")...)},
		"Quotes":       {"The quote that quotes.", []string{"it's/go.mod"}, "it's", called(src+"/it's", module, args("readonly", ".")...)},
		"QuotesOut":    {"The quote that would end the quoting.", []string{"go.mod"}, "';go injected;'\"", called(src, module, args("readonly", "';go injected;'\"")...)},
		"Star":         {"No pattern either.", []string{"go.mod"}, "*", called(src, module, args("readonly", "*")...)},
		"Percent":      {"Nor a verb of a format.", []string{"go.mod"}, "%s%!LDFLAGS x", called(src, module, args("readonly", "%s%!LDFLAGS x")...)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder(t, nil)
			for _, f := range tc.files {
				b.add("chaincode/input/src/"+f, "")
			}
			if err := checkPath(tc.path); err != nil {
				t.Fatal(err)
			}
			got, err := b.run(script(kindGolang, tc.path, false))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestScriptGolangDynamic(t *testing.T) {
	t.Parallel()
	b := newBuilder(t, map[string]string{"chaincode/input/src/go.mod": ""})
	got, err := b.run(script(kindGolang, "", true))
	if err != nil {
		t.Fatal(err)
	}
	want := called("/chaincode/input/src", "GO111MODULE=on GOPATH=/go", "-mod=readonly", "-o", "/chaincode/output/chaincode")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

// TestScriptFails: the pod must end as the compiler did.
func TestScriptFails(t *testing.T) {
	t.Parallel()
	failing := "#!/bin/sh\necho main.go:1: nonsense >&2\nexit 3\n"
	for k, tool := range map[kind]string{kindGolang: "go", kindNode: "npm", kindJava: "gradle"} {
		b := newBuilder(t, map[string]string{"bin/" + tool: failing, "chaincode/input/src/build.gradle": ""})
		_, err := b.run(script(k, ".", false))
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "main.go:1: nonsense") {
			t.Errorf("%s: %v, want the tool's status 3 and its words", k, err)
		}
	}
}

func TestCheckPath(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ reason, path, want string }{
		"Empty":    {"The module's root.", "", ""},
		"Import":   {"What Fabric's command line writes.", "github.com/hyperledger/fabric-samples/asset-transfer-basic/chaincode-go", ""},
		"Relative": {"Dots that stay inside.", "./a/../b", ""},
		"Dots":     {"Three dots are a pattern of Go, or a name.", "...", ""},
		"Up":       {"The peer's files are beside the package's.", "../x", `path "../x" leaves the package's tree`},
		"UpOnly":   {"The same.", "..", `path ".." leaves the package's tree`},
		"UpLater":  {"Said on a detour.", "a/../../x", `path "a/../../x" leaves the package's tree`},
		"Absolute": {"An absolute path is none of the package.", "/etc", `path "/etc" leaves the package's tree`},
		"Option":   {"go build -toolexec runs anything.", "-toolexec=x", `path "-toolexec=x" would be taken for an option of go build`},
		"Newline":  {"Fabric lets it through.", "a\nb", `path "a\nb" holds a control character`},
		"NUL":      {"JSON can hold one, an argument cannot.", "a\x00b", `path "a\x00b" holds a control character`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := checkPath(tc.path)
			if got := fmt.Sprint(err); err == nil && tc.want != "" || err != nil && got != tc.want {
				t.Errorf("%s\ncheckPath(%q) = %v, want %q", tc.reason, tc.path, err, tc.want)
			}
		})
	}
}

// FuzzQuote: one word of a shell comes out as it went in.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a b", "'", "''", `\'`, "$(x)", "`x`", "-n", "*", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "\x00") {
			t.Skip("no argument can hold it")
		}
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q came out as %q, %v", s, out, err)
		}
	})
}

func TestScriptNode(t *testing.T) {
	t.Parallel()
	const in = "chaincode/input/src/"
	cases := map[string]struct {
		reason string
		files  map[string]string
		want   string
	}{
		"Image":      {"fabric-nodeenv knows best.", map[string]string{"chaincode/build.sh": recorder}, "build.sh in /workdir\n"},
		"Lock":       {"A lock file pins what is installed.", map[string]string{in + "package-lock.json": ""}, "npm in /chaincode/output\n<ci>\n<--production>\n"},
		"Shrinkwrap": {"The lock file of published packages.", map[string]string{in + "npm-shrinkwrap.json": ""}, "npm in /chaincode/output\n<ci>\n<--production>\n"},
		"NoLock":     {"As Fabric without the image's script.", nil, "npm in /chaincode/output\n<install>\n<--production>\n"},
		"NotRunable": {"Fabric asks for the right to execute.", map[string]string{"chaincode/build.sh": "text"}, "npm in /chaincode/output\n<install>\n<--production>\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder(t, tc.files)
			b.add(in+"package.json", "{}")
			b.add(in+".npmrc", "dot files belong to the project")
			got, err := b.run(script(kindNode, "", false))
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("%s\ngot %q, want %q", tc.reason, got, tc.want)
			}
			if _, err := os.Stat(b.root + "/chaincode/output/.npmrc"); err != nil && name != "Image" {
				t.Error(err)
			}
		})
	}
}

func TestScriptJava(t *testing.T) {
	t.Parallel()
	const in = "chaincode/input/"
	maven := "<compile>\n<package>\n<-DskipTests>\n<-Dmaven.test.skip=true>\n"
	gradle := "<build>\n<shadowJar>\n<-x>\n<test>\n"
	cases := map[string]struct {
		reason string
		files  map[string]string
		want   string
		jar    string // what chaincode.jar holds
		uber   bool
		err    string
	}{
		"Image":         {"fabric-javaenv has a script, which works in its own directory.", map[string]string{"root/chaincode-java/build.sh": recorder}, "build.sh in /root/chaincode-java\n", "", false, ""},
		"NotTheImages":  {"A script of that name in the package is not the image's.", map[string]string{in + "build.sh": recorder, "workdir/build.sh": recorder, in + "src/build.gradle": ""}, "gradle in /tmp/project\n" + gradle, "gradle", true, ""},
		"Gradle":        {"Projects are below src, as the command line packages them.", map[string]string{in + "src/build.gradle": ""}, "gradle in /tmp/project\n" + gradle, "gradle", true, ""},
		"Kotlin":        {"Gradle in Kotlin.", map[string]string{in + "src/build.gradle.kts": ""}, "gradle in /tmp/project\n" + gradle, "gradle", true, ""},
		"GradleWrapper": {"A project's own Gradle. Fabric's command line packages it without the right to execute.", map[string]string{in + "src/build.gradle": "", in + "src/gradlew": strings.TrimPrefix(recorder, "#!/bin/sh\n")}, "gradlew in /tmp/project\n" + gradle, "gradle", true, ""},
		"Maven":         {"Maven at the root.", map[string]string{in + "pom.xml": ""}, "mvn in /tmp/project\n" + maven, "maven", true, ""},
		"Both":          {"Gradle comes first.", map[string]string{in + "src/pom.xml": "", in + "src/build.gradle": ""}, "gradle in /tmp/project\n" + gradle, "gradle", true, ""},
		"Jar":           {"Built elsewhere.", map[string]string{in + "src/chaincode.jar": "ready"}, "", "ready", false, ""},
		"Nothing":       {"Not a project at all.", map[string]string{in + "src/Main.java": ""}, "", "", false, "no build.gradle, build.gradle.kts, pom.xml or .jar"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder(t, tc.files)
			got, err := b.run(script(kindJava, "", false))
			if err != nil && (tc.err == "" || !strings.Contains(err.Error(), tc.err)) || err == nil && tc.err != "" {
				t.Fatalf("%s\n%v, want %q", tc.reason, err, tc.err)
			}
			if got != tc.want {
				t.Errorf("%s\ngot %q, want %q", tc.reason, got, tc.want)
			}
			jar, _ := os.ReadFile(b.root + "/chaincode/output/chaincode.jar")
			_, uber := os.Stat(b.root + "/chaincode/output/.uberjar")
			if strings.TrimSpace(string(jar)) != tc.jar || (uber == nil) != tc.uber {
				t.Errorf("%s\njar %q, marked %v", tc.reason, jar, uber == nil)
			}
		})
	}
}

func TestScriptCA(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"etc/pivt/ca.crt":                     "-----BEGIN CERTIFICATE-----\none\n-----BEGIN CERTIFICATE-----\ntwo",
		"etc/ssl/certs/ca-certificates.crt":   "system",
		"chaincode/input/src/go.mod":          "",
		"chaincode/input/src/build.gradle":    "",
		"jdk/lib/security/cacerts":            "JDK",
		"chaincode/input/src/package.json":    "{}",
		"etc/pki/tls/certs/ca-bundle.crt":     "not both",
		"chaincode/input/src/npm-debug.log":   "",
		"chaincode/input/META-INF/x/y.json":   "{}",
		"chaincode/input/src/vendor/.gitkeep": "",
	}
	const private = "-----BEGIN CERTIFICATE-----"
	for k, want := range map[kind]string{
		kindGolang: "roots: " + private + " one " + private + " two system\n",
		kindNode:   "roots: " + private + " one " + private + " two system\n",
		kindJava:   private + "\none\n", // each into the key store by itself
	} {
		b := newBuilder(t, files)
		b.env = append(b.env, "JAVA_HOME="+b.root+"/jdk")
		got, err := b.run(script(k, ".", false))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: tools saw\n%s\nwant %q", k, got, want)
		}
		if k != kindJava {
			continue
		}
		if n := strings.Count(got, "<-importcert>"); n != 2 {
			t.Errorf("%d certificates imported, want 2", n)
		}
		if store, _ := os.ReadFile(b.root + "/tmp/pivt-cacerts"); string(store) != "JDK" {
			t.Errorf("the key store began as %q, want the JDK's", store)
		}
	}
}

// TestProgram runs the start commands in images that have what Fabric's have.
func TestProgram(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		kind  kind
		files []string
		want  string
	}{
		"Golang":    {kindGolang, []string{"usr/local/bin/chaincode"}, "chaincode in /workdir\n<-peer.address=peer0:7052>\n"},
		"Java":      {kindJava, []string{"root/chaincode-java/start"}, "start in /workdir\n<--peerAddress>\n<peer0:7052>\n"},
		"JavaOther": {kindJava, []string{"bin/java"}, "java in /workdir\n<-jar>\n</root/chaincode-java/chaincode/chaincode.jar>\n<--peerAddress>\n<peer0:7052>\n"},
		"Node":      {kindNode, []string{"chaincode/start.sh"}, "start.sh in /workdir\n<--peer.address>\n<peer0:7052>\n"},
		"NodeOther": {kindNode, []string{"usr/local/src/x"}, "npm in /usr/local/src\n<start>\n<-->\n<--peer.address>\n<peer0:7052>\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder(t, nil)
			for _, f := range tc.files {
				b.add(f, recorder)
			}
			b.env = append(b.env, "CORE_PEER_ADDRESS=peer0:7052")
			_, command := program(tc.kind)
			got, err := b.run(command)
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestBuildEnv(t *testing.T) {
	t.Parallel()
	got := buildEnv(kindGolang, []corev1.EnvVar{{Name: "GOPROXY", Value: "https://proxy.example.com"}, {Name: "GOCACHE", Value: "/cache"}})
	want := []corev1.EnvVar{
		{Name: "HOME", Value: "/tmp"}, {Name: "GOCACHE", Value: "/cache"}, {Name: "GOMODCACHE", Value: "/tmp/go-mod"},
		{Name: "GOPROXY", Value: "https://proxy.example.com"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the operator's variables win: -want, +got:\n%s", diff)
	}
}
