package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pivt.io/pivt/pkg/exit"
)

// TestInstallRefusesOtherCAs repeats an install without the directory it was made with, and
// then with the directory brought back.
func TestInstallRefusesOtherCAs(t *testing.T) {
	t.Parallel()
	b := newBringUp(t)
	b.mustInstall()
	kept := filepath.Join(filepath.Dir(b.crypto), "kept")
	if err := os.Rename(b.crypto, kept); err != nil {
		t.Fatal(err)
	}
	changes, _, err := b.install(t.Context())
	if exit.CodeOf(err) != exit.Invalid || !strings.Contains(err.Error(), "another CA") || exit.HintOf(err) == "" {
		t.Fatalf("install without the keys of the network: %v, want a refusal with a cure", err)
	}
	diff(t, "a refusal changes nothing", nil, changes)
	if _, err := os.Stat(b.crypto); !os.IsNotExist(err) {
		t.Errorf("the refusal left new keys behind (%v), which the next run would take for the network's", err)
	}
	if err := os.Rename(kept, b.crypto); err != nil {
		t.Fatal(err)
	}
	diff(t, "the former keys are welcome again", unchanged, b.mustInstall())
}
