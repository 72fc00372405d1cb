// Package recipe builds the programs a dev cluster is made of, each from its own pinned Go module.
//
// It knows nothing of clusters: a Part goes in, a directory with binaries and support files comes out.
// The one idea: that directory is named after a hash of everything that went into it (go.mod, go.sum,
// flags, Go version), is filled under another name and renamed when complete. So a directory that exists
// is right, a second build is a stat, and a build killed half-way leaves nothing that could be mistaken for one.
package recipe
