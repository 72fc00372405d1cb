package network

import (
	"regexp"
	"sort"
	"strings"
)

// ChartKeys are the root keys that belong to the charts: their values.yaml say what they
// mean and their schemas check them. People put them into network.yaml, so Load lets
// them pass.
var ChartKeys = []string{
	"backup", "chaincode", "chaincodeService", "couchdb", "extraObjects", "flow", "global", "image", "imagePullPolicy",
	"imagePullSecrets", "launcher", "metrics", "networkPolicy", "orderer", "peer", "persistence", "registry",
}

// FileKeys are the root keys of the two files.
var FileKeys = []string{
	"ExternalOrdererOrgs", "ExternalPeerOrgs", "OrdererOrgs", "PeerOrgs", "hyperledgerVersion", "network",
}

var (
	orgKeys  = []string{"Name", "Domain", "EnableNodeOUs", "CA", "Template", "Specs", "Users"}
	specKeys = []string{
		"Hostname", "CommonName", "Country", "Province", "Locality", "OrganizationalUnit",
		"StreetAddress", "PostalCode", "SANS", "PublicKeyAlgorithm",
	}
	templateKeys = []string{"Count", "Start", "Hostname", "SANS", "PublicKeyAlgorithm"}
	usersKeys    = []string{"Count", "PublicKeyAlgorithm"}
	// Those of Fabric's collections_config.json.
	collectionKeys = []string{
		"name", "policy", "requiredPeerCount", "maxPeerCount", "blockToLive", "memberOnlyRead", "memberOnlyWrite", own,
	}
	ownKeys   = []string{"signaturePolicy", "channelConfigPolicy"}
	batchKeys = []string{"timeout", "maxMessageCount", "absoluteMaxBytes", "preferredMaxBytes"}
)

// own is a collection's own endorsement policy.
const own = "endorsementPolicy"

// format lists the keys of every mapping of the two files. What it does not list is the
// charts' business.
var format = map[string][]string{
	"OrdererOrgs[]":                 orgKeys,
	"OrdererOrgs[].CA":              specKeys,
	"OrdererOrgs[].Template":        templateKeys,
	"OrdererOrgs[].Specs[]":         specKeys,
	"OrdererOrgs[].Users":           usersKeys,
	"PeerOrgs[]":                    orgKeys,
	"PeerOrgs[].CA":                 specKeys,
	"PeerOrgs[].Template":           templateKeys,
	"PeerOrgs[].Specs[]":            specKeys,
	"PeerOrgs[].Users":              usersKeys,
	"ExternalOrdererOrgs[]":         orgKeys,
	"ExternalOrdererOrgs[].Specs[]": specKeys,
	"ExternalPeerOrgs[]":            orgKeys,
	"chaincode":                     {"version", "language", "include"},
	"flow.channel":                  {"include", "parallel", "enabled"},
	"flow.chaincode":                {"include", "parallel"},
	"network": {
		"genesisProfile", "systemChannelID", "consensus", "batch", "channels", "chaincodes",
	},
	"network.batch":            batchKeys,
	"network.channels[]":       {"name", "orgs", "externalOrgs", "ordererOrgs", "consensus", "batch"},
	"network.channels[].batch": batchKeys,
	"network.chaincodes[]": {
		"name", "version", "language", "image", "service", "source", "path", "package",
		"orgs", "channels", "collections", "init", "smoke",
	},
	"network.chaincodes[].service":                         {"address", "image", "replicas", "port", "tls"},
	"network.chaincodes[].channels[]":                      {"name", "orgs", "policy", "collections"},
	"network.chaincodes[].channels[].collections[]":        collectionKeys,
	"network.chaincodes[].channels[].collections[]." + own: ownKeys,
	"network.chaincodes[].collections[]":                   collectionKeys,
	"network.chaincodes[].collections[]." + own:            ownKeys,
	"network.chaincodes[].init":                            {"function", "args"},
	"network.chaincodes[].smoke":                           {"function", "args", "invoke"},
}

// keys reports what the format does not know, from n downwards. at is n's path without
// indices, as format spells it.
func (l *loader) keys(n *node, at string) {
	switch n.kind {
	case list:
		for _, item := range n.items {
			l.keys(item, at+"[]")
		}
	case object:
		known := format[at]
		if at == "" {
			known = rootKeys()
		}
		for _, f := range n.fields {
			name := f.key.text
			if known != nil && !contains(known, name) {
				l.unknown(f.key, at, known)
				continue
			}
			below := name
			if at != "" {
				below = at + "." + name
			}
			inside := hasFormat(below)
			if f.value.kind == null && (known != nil || inside) {
				l.errorf(f.key, "key %s has no value; give it one, or remove the line", show(name))
			}
			if inside {
				l.keys(f.value, below)
			}
		}
	}
}

func (l *loader) unknown(key *node, at string, known []string) {
	name := key.text
	if key.kind != text {
		return // reported
	}
	in := ""
	if at != "" {
		in = " in " + strings.TrimSuffix(at, "[]")
	}
	meant := closest(name, known)
	if elsewhere := homes(name); len(elsewhere) > 0 && !strings.EqualFold(meant, name) {
		l.errorf(key, "key %s does not belong %s; it belongs in %s: check the indentation",
			show(name), place(in), strings.Join(elsewhere, " or "))
		return
	}
	if at == "" && meant == "" {
		known = FileKeys // the charts' values would only confuse
	}
	l.errorf(key, "unknown key %s%s%s", show(name), in, hint(name, known, "keys"))
}

func place(in string) string {
	if in == "" {
		return "at the left edge"
	}
	return strings.TrimSpace(in)
}

// homes are the mappings that know a key.
func homes(name string) []string {
	var some []string
	for at, keys := range format {
		// Collections may stand in two places; the shorter says enough.
		if contains(keys, name) && !strings.Contains(at, ".channels[].collections[]") {
			some = append(some, at)
		}
	}
	sort.Strings(some)
	if len(some) > 3 {
		some = some[:3]
	}
	return some
}

// hasFormat reports whether format has something to say at a path or below.
func hasFormat(at string) bool {
	for path := range format {
		if rest, ok := strings.CutPrefix(path, at); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

func rootKeys() []string {
	keys := append(append([]string(nil), FileKeys...), ChartKeys...)
	for _, r := range removedKeys {
		root, _, _ := strings.Cut(r.path, ".")
		keys = append(keys, root)
	}
	sort.Strings(keys)
	return keys
}

func contains(some []string, s string) bool {
	for _, x := range some {
		if x == s {
			return true
		}
	}
	return false
}

// removedKey is a key of PIVT that is accepted and does nothing any more.
type removedKey struct {
	path string
	kind kind // which the charts' schemas ask for
	// unless is a value that asks for what happens anyway, so that nothing is said.
	unless string
	says   string
}

var removedKeys = []removedKey{
	{"tlsEnabled", boolean, "true", "TLS is always on"},
	{"useActualDomains", boolean, "false", "nodes reach each other by their Service names; real domains stay in the certificates"},
	{"externalOrderer", object, "", "orderers outside the cluster are not used; channels are made by the orderers of OrdererOrgs"},
	{"hostAliases", list, "", "nodes reach each other by their Service names, so no host aliases are needed"},
	{"network.genesisProfile", text, "", "Fabric has no system channel any more; every channel gets a genesis block of its own, made from network.channels"},
	{"network.systemChannelID", text, "", "Fabric has no system channel any more; every channel gets a genesis block of its own, made from network.channels"},
	{"hlf-kafka", object, "", "Fabric has no Kafka orderers any more; channels use etcdraft"},
	{"orderer.cluster", anything, "", "orderers always use one listener with TLS"},
	{"orderer.replicas", number, "1", "every orderer of crypto-config.yaml is one pod; add Specs for more"},
	{"orderer.launchPods", boolean, "true", "pods are always started"},
	{"peer.launchPods", boolean, "true", "pods are always started"},
	{"peer.docker", anything, "", "chaincodes run in pods of their own, without Docker"},
	{"ca", object, "", "this version runs no CAs in the cluster; \"pivt crypto generate\" makes the certificates"},
	{"ingress", object, "", "this version exposes nothing outside the cluster"},
	{"backup.enabled", boolean, "false", "nodes are copied one after the other while the network serves"},
	{"restore", object, "", "nodes are stopped by the restore itself; run \"pivt restore KEY\""},
	{"update", object, "", "this version changes no channel that exists"},
	{"secret", object, "", "pivt makes the Secrets itself"},
	{"configMap", object, "", "pivt makes the ConfigMaps itself"},
	{"argo", object, "", "workflow pods run as flow.serviceAccountName, which is made with the network"},
	{"retryCount", anything, "", "steps retry what may pass and fail at once on what will not"},
	// The sections of configtx.yaml, which PIVT's peer-org-flow took as values.
	{"Organizations", anything, "", configtx},
	{"Capabilities", anything, "", configtx},
	{"Application", anything, "", configtx},
	{"Orderer", anything, "", configtx},
	{"Channel", anything, "", configtx},
	{"Profiles", anything, "", configtx},
}

const configtx = "configtx.yaml is not needed: channel configuration is made from crypto-config.yaml and network.yaml"

// RemovedKeys are the paths of PIVT's keys that are accepted but do nothing. Charts accept
// them as well.
func RemovedKeys() []string {
	paths := make([]string, len(removedKeys))
	for i, r := range removedKeys {
		paths[i] = r.path
	}
	return paths
}

// removed warns of keys that do nothing, with what happens instead.
func (l *loader) removed() {
	for _, r := range removedKeys {
		n := l.root.at(strings.Split(r.path, ".")...)
		if n != nil && r.kind != anything && n.kind != r.kind {
			l.errorf(n, "%s must be %s, not %s; it has no effect any more, so remove it", r.path, r.kind, describe(n))
			continue
		}
		switch {
		case n == nil,
			n.kind == list && len(n.items) == 0,
			n.kind == object && len(n.fields) == 0,
			r.unless != "" && n.text == r.unless:
			continue
		}
		if enabled := n.get("enabled"); enabled != nil && enabled.kind == boolean && enabled.text == "false" {
			continue
		}
		l.warnf(n, "%s has no effect: %s", r.path, r.says)
	}
}

var fabricVersion = regexp.MustCompile(`^([0-9]{1,4})\.([0-9]{1,4})\.[0-9]{1,4}$`)

// version reads hyperledgerVersion.
func (l *loader) version() {
	l.net.Version = DefaultVersion
	n := l.root.get("hyperledgerVersion")
	if n == nil {
		return
	}
	v, ok := l.textOf(n, "hyperledgerVersion")
	if !ok {
		return
	}
	part := fabricVersion.FindStringSubmatch(v)
	switch {
	case part == nil:
		l.errorf(n, "hyperledgerVersion %s is not a release; write all three numbers, as %s", show(v), DefaultVersion)
	case part[1] == "1":
		l.warnf(n, "Fabric %s is no longer supported; %s is used", v, DefaultVersion)
	case part[1] == "2" && part[2] == "5", part[1] == "3":
		l.net.Version = v
	default:
		l.errorf(n, "Fabric %s is not supported; use %s, or a release of 2.5 such as 2.5.9", v, DefaultVersion)
	}
}
