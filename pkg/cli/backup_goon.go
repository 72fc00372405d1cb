package cli

import (
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pivt.io/pivt/pkg/deploy"
)

// goOn is the command that goes on with a run, as a shell takes it. It renders the same workflow,
// which is how one that is under way is found: so it names the key, whoever chose it, and repeats
// every flag that says what is done and to which network.
func goOn(c *cobra.Command, r deploy.BackupRun) string {
	words := []string{c.CommandPath()}
	switch {
	case r.Action == deploy.BackupCreate:
		words = append(words, "--key", r.Key)
	case r.Key != "":
		words = append(words, r.Key)
	}
	for _, org := range r.Selection.Orgs { // a restore of some nodes must not become one of all
		words = append(words, "--org", quoted(org))
	}
	for _, node := range r.Selection.Nodes {
		words = append(words, "--node", quoted(node))
	}
	for _, risk := range r.Accept {
		words = append(words, "--accept", string(risk))
	}
	if r.Cancel {
		words = append(words, "--cancel")
	}
	skip := slices.Concat(saidByRun(), tellOrWait())
	if r.Action == deploy.BackupRestore {
		skip = append(skip, keysThere()...)
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		// A restore makes the directory that keys were decrypted into the one to use.
		if (f.Changed || f.Name == "crypto-dir" && f.Value.String() != f.DefValue) && !slices.Contains(skip, f.Name) {
			words = append(words, repeated(f)...)
		}
	})
	return strings.Join(words, " ")
}

// saidByRun are the flags whose effect the run says better: a moment that was two hours ago is
// not so any more. Whoever is asked whether to go on with a restore is asked again.
func saidByRun() []string {
	return []string{"key", "at", "org", "node", "accept", "cancel", "dry-run", "yes"}
}

// tellOrWait are the flags that change what is told and how long it is waited.
func tellOrWait() []string { return []string{"output", "quiet", "no-color", "timeout"} }

// keysThere are flags of a restore that have had their effect: keys are never written twice.
func keysThere() []string { return []string{"crypto-config", "passphrase-file"} }

// repeated is a flag with its values, in words of a shell. No flag's value is a secret; some are
// names of files with one.
func repeated(f *pflag.Flag) []string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand
	}
	if f.Value.Type() == "bool" {
		if f.Value.String() == "true" {
			return []string{name}
		}
		return []string{name + "=" + f.Value.String()}
	}
	values := []string{f.Value.String()}
	if many, ok := f.Value.(pflag.SliceValue); ok {
		values = many.GetSlice()
	}
	var words []string
	for _, v := range values {
		words = append(words, name, quoted(v))
	}
	return words
}

// plain is what every shell takes as it is.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

func quoted(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
