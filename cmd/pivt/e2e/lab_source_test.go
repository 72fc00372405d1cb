//go:build e2e

package e2e

import (
	"fmt"
	"testing/fstest"

	"pivt.io/pivt/pkg/chaincode"
	"pivt.io/pivt/pkg/network"
)

// tinySource is a package of a program that is no chaincode and builds in seconds. Different
// names give different packages.
func (l *lab) tinySource(name string) []byte {
	l.t.Helper()
	org := l.network.PeerOrgs[0]
	cc := &network.Chaincode{Name: "tiny-" + name, Version: "1.0", Source: ".", Language: "golang", Orgs: []*network.Org{org}}
	pkg, err := chaincode.PackageSource(cc, fstest.MapFS{
		"go.mod":  {Data: []byte("module tiny\n\ngo 1.20\n")},
		"main.go": {Data: []byte(fmt.Sprintf("package main\n\nfunc main() { println(%q) }\n", name))},
	})
	l.must(err)
	return pkg
}
