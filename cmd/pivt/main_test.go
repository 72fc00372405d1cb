package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the expected output of the stories")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pivt": main})
}

// TestStories runs the command lines of testdata/script as a user would type them.
func TestStories(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", UpdateScripts: *update})
}
