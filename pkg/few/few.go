// Package few writes lists that may be long into messages that must not be: the first of them, and
// how many there are besides. It is for people who read an error or a line of progress; whoever
// needs all of them asks for JSON. The idea to hold: a message names enough to begin with, and
// never hides that there is more.
package few

import (
	"fmt"
	"strings"
)

// Names lists at most limit names: "a, b and 3 more".
func Names[T any](all []T, limit int) string { return list(all, limit, ", ", " and ") }

// Sentences lists at most limit sentences: "a failed; b failed; and 3 more".
func Sentences[T any](all []T, limit int) string { return list(all, limit, "; ", "; and ") }

// Lines lists at most limit lines, and how many more there are in one of their own.
func Lines[T any](all []T, limit int) string { return list(all, limit, "\n", "\nand ") }

// list writes each of all as fmt does: an error by its Error, else by its String.
func list[T any](all []T, limit int, between, before string) string {
	var b strings.Builder
	for i, one := range all {
		if i == limit {
			fmt.Fprintf(&b, "%s%d more", before, len(all)-limit)
			break
		}
		if i > 0 {
			b.WriteString(between)
		}
		fmt.Fprint(&b, one)
	}
	return b.String()
}
