// Package project makes the images of what is developed in this repository: the program that runs in pods, and the sample chaincode.
//
// It neither pushes nor imports them. The one idea: the chaincode's image is reproducible to the last bit, because its digest stands in network.yaml, and a file
// under version control must not depend on who built the image. So the toolchain of that build is pinned, and nothing of the machine, the checkout or the day gets in.
package project
