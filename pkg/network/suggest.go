package network

import "strings"

// maxCompared is the longest name worth the comparison, whose cost is quadratic.
const maxCompared = 100

// closest finds the name that was probably meant, or "".
func closest(name string, known []string) string {
	best, bestAt := "", max(1, len(name)/3)+1
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return k
		}
		if len(name) > maxCompared || len(k) > maxCompared {
			continue
		}
		if d := len(k) - len(name); d >= bestAt || -d >= bestAt {
			continue
		}
		if at := distance(strings.ToLower(name), strings.ToLower(k)); at < bestAt {
			best, bestAt = k, at
		}
	}
	return best
}

// hint ends a message about an unknown name: what was meant, or what there is.
func hint(name string, known []string, noun string) string {
	if k := closest(name, known); k != "" && k != name {
		return "; did you mean " + show(k) + "?"
	}
	const most = 12
	switch {
	case len(known) == 0:
		return "; there are no " + noun
	case len(known) > most:
		return "; known " + noun + ": " + strings.Join(known[:most], ", ") + "…"
	}
	return "; known " + noun + ": " + strings.Join(known, ", ")
}

// distance counts insertions, deletions, replacements and swaps of neighbours between two
// words. It compares bytes: the names are ASCII, or wrong anyway.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
