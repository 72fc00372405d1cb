// Package rootfs makes the lower layers of images that need more than one program: a small Debian, a Go toolchain, npm.
//
// It knows nothing of clusters, and what stands in the images above these layers is not its business. The one idea: a
// layer is a directory of the cache, named after a hash of what it was asked to hold, like the parts of package recipe.
// What Debian's mirror holds under the same names changes with its point releases; the layer then stays as it is until
// the cache is removed.
package rootfs
