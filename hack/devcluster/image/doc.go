// Package image assembles container images from files, without a registry and without running anything.
//
// It does not build programs and does not talk to a container runtime: it turns a Spec into an OCI archive that containerd, kind and
// others import. The same Spec gives the same bytes on every machine and on every day, so a digest can be written down before the image is made:
// files are sorted, times are zero, owners are root, and the compressor is a pinned module rather than the toolchain's.
package image
