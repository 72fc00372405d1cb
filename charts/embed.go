// Package charts holds the Helm charts as files inside the program, so that pivt and
// plain helm render from the same source.
//
// It reads and renders nothing; package chart does. The idea to hold: a chart is complete
// without Go, and what is embedded is the directory as it is.
package charts

import "embed"

// FS holds one directory per chart. Without "all:" files that begin with "_" would be
// left out, and every template with an include would fail.
//
//go:embed all:hlf-kube all:channel-flow all:chaincode-flow all:backup-flow
var FS embed.FS
