// Package workflow submits Argo workflows, follows them task by task, and says in one error
// why one failed. It owns the Argo dependency.
//
// It does not render workflows (package chart does) and does not know what their tasks are
// about. The idea to hold: what is submitted is what the chart printed, so the picture of a run
// is the chart's own list of tasks, onto which Argo's nodes and the pods' states are laid. Argo's
// controller looks at a workflow about every ten seconds; the pods tell sooner.
package workflow
