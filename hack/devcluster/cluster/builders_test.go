package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The scripts run as in their images, below another root.
func TestBuilderScripts(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		script []byte
		args   []string
		files  []string
		fails  bool
		says   string
		leaves string
	}{
		"NodeLocked": {
			reason: "A lock file means exactly these versions.", script: nodeBuild,
			files: []string{"chaincode/input/src/package.json", "chaincode/input/src/package-lock.json"},
			says:  "npm ci --omit=dev", leaves: "chaincode/output/package.json",
		},
		"NodeShrinkwrap": {
			reason: "npm's older name for it.", script: nodeBuild,
			files: []string{"chaincode/input/src/package.json", "chaincode/input/src/npm-shrinkwrap.json"}, says: "npm ci --omit=dev",
		},
		"NodeUnlocked": {
			reason: "npm ci refuses a package without a lock file.", script: nodeBuild,
			files: []string{"chaincode/input/src/package.json", "chaincode/input/src/.npmrc"},
			says:  "npm install --omit=dev", leaves: "chaincode/output/.npmrc",
		},
		"NodeStart": {
			reason: "The peer's address reaches the chaincode through npm.", script: nodeStart, args: []string{"--peer.address", "peer0:7052"},
			files: []string{"usr/local/src/package.json"}, says: "npm start -- --peer.address peer0:7052",
		},
		"JavaGradle": {
			reason: "Below src is where packages have the project.", script: javaBuild,
			files: []string{"chaincode/input/src/build.gradle"}, says: "stand-in", leaves: "chaincode/output/chaincode.jar",
		},
		"JavaMaven": {
			reason: "The root of the input is looked at first.", script: javaBuild,
			files: []string{"chaincode/input/pom.xml", "chaincode/input/src/build.gradle"}, says: "pom.xml for built", leaves: "chaincode/output/.uberjar",
		},
		"JavaNothing": {
			reason: "Not even a stand-in builds what is no project.", script: javaBuild,
			files: []string{"chaincode/input/src/Main.java"}, fails: true, says: "no build.gradle, build.gradle.kts or pom.xml",
		},
		"JavaStart": {
			reason: "The address is handed on as the Go program wants it.", script: javaStart, args: []string{"--peerAddress", "peer0:7052"},
			files: []string{"root/chaincode-java/chaincode/chaincode.jar"}, says: "sample-chaincode -peer.address=peer0:7052",
		},
		"JavaNoJar": {
			reason: "A build whose result did not arrive must not look well.", script: javaStart, args: []string{"--peerAddress", "peer0:7052"},
			fails: true, says: "chaincode.jar is missing",
		},
		"JavaNoAddress": {reason: "The published program asks for it too.", script: javaStart, fails: true, says: "usage"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for _, file := range append(tc.files, "chaincode/output/") {
				place(t, filepath.Join(root, file), file)
			}
			// What the scripts call says how it was called.
			for _, program := range []string{"npm", "usr/local/bin/sample-chaincode"} {
				place(t, filepath.Join(root, program), "#!/bin/sh\necho $(basename $0) \"$@\"\n")
			}
			text := string(tc.script)
			for _, dir := range []string{"/chaincode/input", "/chaincode/output", "/usr/local/", "/root/chaincode-java/chaincode/"} {
				text = strings.ReplaceAll(text, dir, root+dir)
			}
			cmd := exec.Command("/bin/sh", append([]string{"-c", text, "script"}, tc.args...)...)
			cmd.Env = []string{"PATH=" + root + ":/usr/bin:/bin"}
			out, err := cmd.CombinedOutput()
			if (err != nil) != tc.fails || !strings.Contains(string(out), tc.says) {
				t.Errorf("%s\ngot %v:\n%s\nwant %q", tc.reason, err, out, tc.says)
			}
			if tc.leaves != "" {
				if _, err := os.Stat(filepath.Join(root, tc.leaves)); err != nil {
					t.Errorf("%s\n%v", tc.reason, err)
				}
			}
		})
	}
}

// place makes a file, or a directory if the name ends in a slash.
func place(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(text, "/") {
		if err := os.MkdirAll(file, 0o755); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
