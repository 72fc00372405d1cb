package network

import (
	"net"
	"path"
	"regexp"
	"strconv"
	"strings"
)

var (
	imageName = regexp.MustCompile(`^([a-zA-Z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	digest    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	// pathText keeps what goes into build scripts to what no shell gives a meaning.
	pathText = regexp.MustCompile(`^[A-Za-z0-9_.~+-]+(/[A-Za-z0-9_.~+-]+)*$`)
	// addressTemplate is what a peer's launcher fills in, as in {{.peername}}.
	addressTemplate = regexp.MustCompile(`\{\{\s*\.[A-Za-z0-9_]+\s*\}\}`)
	serviceTLS      = []string{string(NoTLS), string(ServerTLS), string(MutualTLS)}
)

const (
	maxReplicas = 100
	ociScheme   = "oci://"
)

// code reads where a chaincode's code is.
func (l *loader) code(cc *Chaincode, o *node, who string) {
	var given []string
	for _, key := range []string{"image", "service", "source", "package"} {
		if o.get(key) == nil {
			continue
		}
		if given = append(given, key); len(given) == 2 {
			l.errorf(o.get(key), "%s has both %s and %s; keep one", who, given[0], key)
		}
	}
	if n := o.get("image"); n != nil {
		if cc.Image = l.str(o, "image"); n.kind == text {
			l.checkImage(n, who, cc.Image)
		}
	}
	cc.Service = l.service(o, who)
	l.source(cc, o, who)
	if n := o.get("package"); n != nil {
		if cc.Package = l.str(o, "package"); n.kind == text {
			l.checkPackage(n, who, cc.Package)
		}
	}
	if len(given) == 0 && !o.tried("image", "service", "source", "package") {
		l.warnf(l.places[cc], "%s does not say where its code is, so it is not deployed; add source: DIRECTORY and language: golang, node or java, or image: NAME@sha256:DIGEST", who)
	}
}

// tried reports whether one of the keys is there without a value, which has been reported.
func (n *node) tried(keys ...string) bool {
	for _, key := range keys {
		if n.find(key) >= 0 {
			return true
		}
	}
	return false
}

// source reads a source directory and what belongs to it.
func (l *loader) source(cc *Chaincode, o *node, who string) {
	n, p := o.get("source"), o.get("path")
	if n == nil {
		if p != nil {
			l.errorf(p, "%s: path is the place of a Go main package below source, and there is no source", who)
		}
		return
	}
	cc.Source = l.str(o, "source")
	if n.line > 0 {
		cc.SourceFile = n.src.name
	}
	switch {
	case n.kind != text:
	case strings.TrimSpace(cc.Source) == "":
		l.errorf(n, "%s: source is empty; name a directory", who)
	case strings.Contains(cc.Source, "://"):
		l.errorf(n, "%s: source %s is not a directory; for a finished package in a registry write package: oci://NAME@sha256:DIGEST", who, show(cc.Source))
	case strings.HasPrefix(cc.Source, "~"):
		l.errorf(n, "%s: source %s: only a shell knows what ~ is; write the path in full, or relative to this file", who, show(cc.Source))
	}
	if cc.Language == "" && cc.Image == "" && cc.Service == nil && !o.tried("language") && l.root.at("chaincode", "language") == nil {
		l.errorf(n, "%s has a source and no language; add language: golang, node or java", who)
	}
	if p == nil {
		return
	}
	s, ok := l.textOf(p, "path")
	clean := path.Clean(strings.TrimSuffix(s, "/"))
	switch {
	case !ok:
	case cc.Language == "node" || cc.Language == "java":
		l.errorf(p, "%s: path is for golang; let source name the directory that is to be built", who)
	case path.IsAbs(s):
		l.errorf(p, "%s: path %s must be relative to source", who, show(s))
	case clean == ".." || strings.HasPrefix(clean, "../"):
		l.errorf(p, "%s: path %s leads out of source; let source name a directory above both", who, show(s))
	case s == "":
		l.errorf(p, "%s: path is empty; leave the key out for source itself", who)
	case clean != "." && (!pathText.MatchString(clean) || strings.ContainsRune("-~", rune(clean[0]))):
		l.errorf(p, "%s: path %s: a build takes letters, digits and _ . ~ + - between slashes, and neither ~ nor - first", who, show(s))
	case clean != ".":
		cc.Path = clean
	}
}

// service reads a chaincode server: HOST:PORT of one that others run, or a mapping.
func (l *loader) service(o *node, who string) *Service {
	n := o.get("service")
	switch {
	case n == nil:
		return nil
	case n.kind == text:
		l.checkAddress(n, who, n.text)
		return &Service{Address: n.text, TLS: NoTLS}
	case n.kind != object:
		l.errorf(n, "%s: service must be HOST:PORT, or a mapping with address or image, not %s", who, describe(n))
		return nil
	}
	s := &Service{TLS: NoTLS}
	address, image := n.get("address"), n.get("image")
	switch {
	case address != nil && image != nil:
		l.errorf(image, "%s: service has both address and image; keep address if somebody else runs the server, or image to run it here", who)
	case address == nil && image == nil && !n.tried("address", "image"):
		l.errorf(n, "%s: service has no address and no image; add address: HOST:PORT of a running server, or image: NAME@sha256:DIGEST to run one here", who)
	}
	if address != nil {
		if s.Address = l.str(n, "address"); address.kind == text {
			l.checkAddress(address, who, s.Address)
		}
		for _, key := range []string{"replicas", "port"} {
			if n.get(key) != nil {
				l.errorf(n.get(key), "%s: service.%s is for a server that runs here, which needs image; the server at %s is run by others", who, key, show(s.Address))
			}
		}
	}
	if image != nil {
		if s.Image = l.str(n, "image"); image.kind == text {
			l.checkImage(image, who, s.Image)
		}
		s.Replicas = l.integer(n, "replicas", 1, 0, maxReplicas)
		s.Port = l.integer(n, "port", ServicePortDefault, 1, 65535)
	}
	if s.Image != "" {
		s.TLS = MutualTLS // pivt makes all keys then
	}
	if tls := n.get("tls"); tls != nil {
		switch {
		case tls.kind == text && contains(serviceTLS, tls.text):
			s.TLS = ServiceTLS(tls.text)
		case tls.kind == boolean:
			l.errorf(tls, "%s: service.tls must be none, tls, or mtls, in which the server checks peers too; not %s", who, describe(tls))
		case tls.kind == text:
			l.errorf(tls, "%s: service.tls %s is unknown%s", who, show(tls.text), hint(tls.text, serviceTLS, "values"))
		default:
			l.errorf(tls, "%s: service.tls must be none, tls or mtls, not %s", who, describe(tls))
		}
	}
	return s
}

func (l *loader) checkAddress(n *node, who, address string) {
	host, port, err := net.SplitHostPort(addressTemplate.ReplaceAllString(address, "x"))
	p, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || p == 0 || !validDNS(host) && net.ParseIP(host) == nil {
		l.errorf(n, "%s: service %s is not HOST:PORT", who, show(address))
	}
}

func (l *loader) checkImage(n *node, who, image string) {
	name, sum, pinned := strings.Cut(image, "@")
	tag := ""
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name, tag = name[:i], name[i+1:]
	}
	switch {
	case !imageName.MatchString(name):
		l.errorf(n, "%s: image %s is not an image's name; write NAME@sha256:DIGEST", who, show(image))
	case !pinned:
		l.errorf(n, "%s: image %s has no digest, so its peers could run different code; write %s@sha256:DIGEST", who, show(image), name)
	case tag != "" && digest.MatchString(sum):
		l.errorf(n, "%s: image %s has a tag and a digest, and only the digest counts; write %s@%s", who, show(image), name, sum)
	case !digest.MatchString(sum):
		l.errorf(n, "%s: image %s: the digest must be sha256: and 64 lower-case hexadecimal digits", who, show(image))
	}
}

// checkPackage checks a reference to a package in a registry. Unlike images it must name its
// registry: there is no usual one for packages.
func (l *loader) checkPackage(n *node, who, ref string) {
	rest, ok := strings.CutPrefix(ref, ociScheme)
	if !ok {
		l.errorf(n, "%s: package %s is not in a registry; write oci://HOST/NAME@sha256:DIGEST, as \"pivt chaincode push --to oci://HOST/NAME\" prints it", who, show(ref))
		return
	}
	name, sum, pinned := strings.Cut(rest, "@")
	tag := ""
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name, tag = name[:i], name[i+1:]
	}
	host, _, below := strings.Cut(name, "/")
	switch {
	case !imageName.MatchString(name) || !below || !strings.ContainsAny(host, ".:") && host != "localhost":
		l.errorf(n, "%s: package %s does not name a registry and a repository; write oci://HOST/NAME@sha256:DIGEST", who, show(ref))
	case !pinned:
		l.errorf(n, "%s: package %s has no digest, so organisations could install different code; write %s%s@sha256:DIGEST", who, show(ref), ociScheme, name)
	case tag != "" && digest.MatchString(sum):
		l.errorf(n, "%s: package %s has a tag and a digest, and only the digest counts; write %s%s@%s", who, show(ref), ociScheme, name, sum)
	case !digest.MatchString(sum):
		l.errorf(n, "%s: package %s: the digest must be sha256: and 64 lower-case hexadecimal digits", who, show(ref))
	}
}
