package launcher

import (
	"fmt"
	"path"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
)

// quote makes one word of s for a shell. Nothing is special between single quotes.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// checkPath refuses what cannot be the path of a Go package inside the package's tree.
// Fabric's own builder puts the text into its script as it is.
func checkPath(p string) error {
	switch {
	case strings.HasPrefix(p, "/"), path.Clean(p) == "..", strings.HasPrefix(path.Clean(p), "../"):
		return fmt.Errorf("path %q leaves the package's tree", p)
	case strings.HasPrefix(p, "-"):
		return fmt.Errorf("path %q would be taken for an option of go build", p)
	case strings.ContainsFunc(p, unicode.IsControl):
		return fmt.Errorf("path %q holds a control character", p)
	}
	return nil
}

// script is what /bin/sh runs in the builder image, with the package below
// /chaincode/input, to leave the result below /chaincode/output.
func script(k kind, pkg string, dynamicLink bool) string {
	switch k {
	case kindGolang:
		ldflags := staticLink
		if dynamicLink {
			ldflags = ""
		}
		return trustCA + "path=" + quote(pkg) + "\n" + strings.ReplaceAll(golangScript, "LDFLAGS ", ldflags)
	case kindJava:
		return trustCA + trustCAJava + javaScript
	case kindNode:
		return trustCA + nodeScript
	}
	panic("unreachable: packages of type " + string(k) + " are not built")
}

// trustCA makes a private CA known, in addition to the roots of the image. SSL_CERT_FILE
// replaces the file of roots, for Go as for OpenSSL, curl and git, so it gets one that
// holds both. Node's variable adds by itself, and npm listens to Node.
const trustCA = `set -e
ca=/etc/pivt/ca.crt
if [ -s "$ca" ]; then
    cp "$ca" /tmp/pivt-ca.crt
    chmod u+w /tmp/pivt-ca.crt
    for roots in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
        if [ -r "$roots" ]; then
            echo >>/tmp/pivt-ca.crt
            cat "$roots" >>/tmp/pivt-ca.crt
            break
        fi
    done
    export SSL_CERT_FILE=/tmp/pivt-ca.crt GIT_SSL_CAINFO=/tmp/pivt-ca.crt NODE_EXTRA_CA_CERTS="$ca"
fi
`

// trustCAJava does the same for Java, which looks only into a key store of its own.
const trustCAJava = `if [ -s "$ca" ] && command -v keytool >/dev/null; then
    keystore="${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v keytool)")")")}/lib/security/cacerts"
    if [ -r "$keystore" ]; then
        cat "$keystore" >/tmp/pivt-cacerts
    fi
    awk '/-----BEGIN CERTIFICATE-----/ { n++ } n { print > ("/tmp/pivt-ca-" n ".crt") }' "$ca"
    for cert in /tmp/pivt-ca-*.crt; do
        keytool -importcert -noprompt -keystore /tmp/pivt-cacerts -storepass changeit -alias "$(basename "$cert")" -file "$cert"
    done
    export JAVA_TOOL_OPTIONS="$JAVA_TOOL_OPTIONS -Djavax.net.ssl.trustStore=/tmp/pivt-cacerts -Djavax.net.ssl.trustStorePassword=changeit"
fi
`

const staticLink = `-ldflags "-linkmode external -extldflags '-static'" `

// golangScript is that of Fabric's core/chaincode/platforms/golang, with the path quoted.
// An unquoted empty path is no argument there, hence ${path:+...}.
const golangScript = `if [ -f /chaincode/input/src/go.mod ] && [ -d /chaincode/input/src/vendor ]; then
    cd /chaincode/input/src
    GO111MODULE=on go build -v -mod=vendor LDFLAGS -o /chaincode/output/chaincode ${path:+"$path"}
elif [ -f /chaincode/input/src/go.mod ]; then
    cd /chaincode/input/src
    GO111MODULE=on go build -v -mod=readonly LDFLAGS -o /chaincode/output/chaincode ${path:+"$path"}
elif [ -f "/chaincode/input/src/$path/go.mod" ] && [ -d "/chaincode/input/src/$path/vendor" ]; then
    cd "/chaincode/input/src/$path"
    GO111MODULE=on go build -v -mod=vendor LDFLAGS -o /chaincode/output/chaincode .
elif [ -f "/chaincode/input/src/$path/go.mod" ]; then
    cd "/chaincode/input/src/$path"
    GO111MODULE=on go build -v -mod=readonly LDFLAGS -o /chaincode/output/chaincode .
else
    GO111MODULE=off GOPATH="/chaincode/input:$GOPATH" go build -v LDFLAGS -o /chaincode/output/chaincode ${path:+"$path"}
fi
echo Done!
`

// javaScript calls the script of fabric-javaenv. Any other image with Gradle or Maven can
// do what that one does; it has to be one whose tools are not below /root, which images
// close to the user that pods run as.
const javaScript = `if [ -x /root/chaincode-java/build.sh ]; then
    cd /root/chaincode-java
    exec ./build.sh
fi
if ! [ -x /root/ ]; then
    echo "/root of this image is closed to user $(id -u): its build.sh, if any, cannot be used" >&2
fi
project=
for dir in /chaincode/input /chaincode/input/src; do
    for file in build.gradle build.gradle.kts pom.xml; do
        if [ -z "$project" ] && [ -f "$dir/$file" ]; then
            project=$dir
            kind=$file
        fi
    done
done
if [ -z "$project" ]; then
    found=
    for jar in /chaincode/input/*.jar /chaincode/input/src/*.jar; do
        if [ -f "$jar" ]; then
            cp "$jar" /chaincode/output/
            found=1
        fi
    done
    if [ -z "$found" ]; then
        echo "no build.gradle, build.gradle.kts, pom.xml or .jar in the package" >&2
        exit 255
    fi
    exit 0
fi
mkdir -p /tmp/project
cp -R "$project/." /tmp/project
cd /tmp/project
if [ "$kind" = pom.xml ]; then
    if [ -f mvnw ]; then
        sh ./mvnw compile package -DskipTests -Dmaven.test.skip=true
    else
        mvn compile package -DskipTests -Dmaven.test.skip=true
    fi
    cp target/chaincode.jar /chaincode/output/
else
    if [ -f gradlew ]; then
        sh ./gradlew build shadowJar -x test
    else
        gradle build shadowJar -x test
    fi
    cp build/libs/chaincode.jar /chaincode/output/
fi
touch /chaincode/output/.uberjar
`

// nodeScript calls the script of fabric-nodeenv, or does what that one does. All releases
// of npm know --production; --omit=dev is its newer spelling.
const nodeScript = `if [ -x /chaincode/build.sh ]; then
    exec /chaincode/build.sh
fi
cp -R /chaincode/input/src/. /chaincode/output
cd /chaincode/output
if [ -f package-lock.json ] || [ -f npm-shrinkwrap.json ]; then
    npm ci --production
else
    npm install --production
fi
`

// buildEnv is the environment of a build. The root of the file system is read-only and
// the user owns no directory in it, so everything that tools like to keep goes below
// /tmp. What the operator gives comes last and wins.
//
// GOPROXY and GOSUMDB are as the operator or the image say, else Go's own defaults. GOFLAGS
// stays alone: no tool packages a .git directory, and the Go of older builder images
// does not know -buildvcs.
func buildEnv(k kind, given []corev1.EnvVar) []corev1.EnvVar {
	env := []corev1.EnvVar{{Name: "HOME", Value: "/tmp"}}
	switch k {
	case kindGolang:
		env = append(env,
			corev1.EnvVar{Name: "GOCACHE", Value: "/tmp/go-build"},
			corev1.EnvVar{Name: "GOMODCACHE", Value: "/tmp/go-mod"})
	case kindJava:
		env = append(env,
			corev1.EnvVar{Name: "GRADLE_USER_HOME", Value: "/tmp/gradle"},
			// Java looks homes up in /etc/passwd, which does not know the user.
			corev1.EnvVar{Name: "MAVEN_OPTS", Value: "-Duser.home=/tmp"})
	case kindNode:
		env = append(env,
			corev1.EnvVar{Name: "npm_config_cache", Value: "/tmp/npm"},
			corev1.EnvVar{Name: "npm_config_update_notifier", Value: "false"},
			corev1.EnvVar{Name: "npm_config_audit", Value: "false"}, // nobody reads the answer here
			corev1.EnvVar{Name: "npm_config_fund", Value: "false"})
	}
	for _, e := range given {
		env = setEnv(env, e)
	}
	return env
}

func setEnv(env []corev1.EnvVar, e corev1.EnvVar) []corev1.EnvVar {
	for i := range env {
		if env[i].Name == e.Name {
			env[i] = e
			return env
		}
	}
	return append(env, e)
}

// program is where the runtime image of a kind expects what was built, and how Fabric's
// Docker builder starts it (core/container/dockercontroller).
func program(k kind) (path, command string) {
	switch k {
	case kindGolang:
		return "/usr/local/bin", `exec /usr/local/bin/chaincode -peer.address="$CORE_PEER_ADDRESS"`
	case kindJava:
		return "/root/chaincode-java/chaincode", `if [ -x /root/chaincode-java/start ]; then
    exec /root/chaincode-java/start --peerAddress "$CORE_PEER_ADDRESS"
fi
exec java $JAVA_OPTS -jar /root/chaincode-java/chaincode/chaincode.jar --peerAddress "$CORE_PEER_ADDRESS"`
	case kindNode:
		// npm would look for its own updates, where there is no way out, and for a home.
		return "/usr/local/src", `export npm_config_update_notifier=false npm_config_cache=/tmp/npm
if [ -x /chaincode/start.sh ]; then
    exec /chaincode/start.sh --peer.address "$CORE_PEER_ADDRESS"
fi
cd /usr/local/src
exec npm start -- --peer.address "$CORE_PEER_ADDRESS"`
	}
	panic("unreachable: packages of type " + string(k) + " are not built")
}
