package step_test

import (
	"os"
	"testing"

	"pivt.io/pivt/pkg/fabric/fabrictest"
)

func TestMain(m *testing.M) {
	fabrictest.Main()
	os.Exit(m.Run())
}
