// Package chart renders and installs the embedded Helm charts.
//
// It alone imports Helm. It makes no values: what the user's files say goes to the templates
// as it is, so that Render prints byte for byte what "helm template" prints, and "helm ls",
// "helm history" and "helm rollback" work on what Apply installed. Waiting for pods to be
// ready is package kube's; keys never pass through here, because a release keeps its values.
package chart
