// Package depot keeps chaincode packages where the pods that install them can fetch them: in
// ConfigMaps of the network's namespace, found by the package's label, or in any OCI registry,
// found by digest.
//
// It does not make packages (package chaincode does) and does not install them (package step
// does). The idea to hold: what comes out is what went in, or an error. A package is cut into
// immutable ConfigMaps named by its hash, and one more, the index, makes them a package: as long
// as that one is missing nothing has happened, and once it is there all of it has. Whoever reads
// checks the hash and trusts nobody on the way.
package depot
