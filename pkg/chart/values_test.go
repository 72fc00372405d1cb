package chart

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// change is one value that is set, and one place of what is rendered where it must show.
// at is "Kind/name path", a path of field names, list indices and [key=value] selectors.
type change struct {
	value string // path.in.values
	to    string // YAML
	more  string // further values that the change needs to have a meaning
	at    string
	want  string // YAML; "absent" if there must be nothing
}

const (
	ord     = "StatefulSet/hlf-orderer--orderer--orderer0 "
	ordPod  = ord + "spec.template.spec."
	ordMain = ordPod + "containers[name=orderer]."
	peer    = "StatefulSet/hlf-peer--org1--peer0 "
	peerPod = peer + "spec.template.spec."
	main    = peerPod + "containers[name=peer]."
	couch   = peerPod + "containers[name=couchdb]."
	useCDB  = "peer: {stateDatabase: CouchDB}"
	digest1 = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
)

// nodeChanges are the values that peers and orderers have alike.
func nodeChanges(key, sts, pod, container string) []change {
	image := "hyperledger/fabric-" + key
	policy := "NetworkPolicy/hlf-" + key + " spec.ingress[0].from"
	last := map[string]string{"peer": "2", "orderer": "3"}[key]
	return []change{
		{value: key + ".image.registry", to: "mirror.test", at: container + "image", want: "mirror.test/" + image + ":3.1.1"},
		{value: key + ".image.repository", to: "my/fabric", at: container + "image", want: "my/fabric:3.1.1"},
		{value: key + ".image.tag", to: `"3.2"`, at: container + "image", want: image + `:3.2`},
		{value: key + ".image.digest", to: digest1, at: container + "image", want: image + "@" + digest1},
		{value: key + ".logLevel", to: "debug", at: container + "env[name=FABRIC_LOGGING_SPEC].value", want: "debug"},
		{value: key + ".persistence.enabled", to: "false", at: sts + "spec.volumeClaimTemplates", want: "absent"},
		{value: key + ".persistence.enabled", to: "false", at: pod + "volumes[name=data].emptyDir", want: "{}"},
		{value: key + ".persistence.size", to: "7Gi", at: sts + "spec.volumeClaimTemplates[0].spec.resources.requests.storage", want: "7Gi"},
		{value: key + ".persistence.storageClass", to: "fast", at: sts + "spec.volumeClaimTemplates[0].spec.storageClassName", want: "fast"},
		{value: key + ".resources", to: "{requests: {cpu: 2}}", at: container + "resources.requests.cpu", want: "2"},
		{value: key + ".terminationGracePeriodSeconds", to: "7", at: pod + "terminationGracePeriodSeconds", want: "7"},
		{value: key + ".serviceAnnotations", to: "{a: b}", at: strings.Replace(sts, "StatefulSet", "Service", 1) + "metadata.annotations.a", want: "b"},
		{value: key + ".from", to: "[{podSelector: {matchLabels: {app: mine}}}]", at: policy + "[" + last + "].podSelector.matchLabels.app", want: "mine"},
		{value: key + ".nodeSelector", to: "{disk: ssd}", at: pod + "nodeSelector.disk", want: "ssd"},
		{value: key + ".tolerations", to: "[{key: k}]", at: pod + "tolerations[0].key", want: "k"},
		{value: key + ".affinity", to: "{nodeAffinity: {}}", at: pod + "affinity", want: "{nodeAffinity: {}}"},
		{value: key + ".priorityClassName", to: "high", at: pod + "priorityClassName", want: "high"},
		{value: key + ".podLabels", to: "{team: a}", at: sts + "spec.template.metadata.labels.team", want: "a"},
		{value: key + ".podAnnotations", to: "{note: a}", at: sts + "spec.template.metadata.annotations.note", want: "a"},
		{value: key + ".podSecurityContext", to: "{runAsUser: 5}", at: pod + "securityContext.runAsUser", want: "5"},
		{value: key + ".containerSecurityContext", to: "{privileged: false}", at: container + "securityContext.privileged", want: "false"},
		{value: key + ".extraEnv", to: "[{name: GOGC, value: '50'}]", at: container + "env[name=GOGC].value", want: "'50'"},
		{value: key + ".extraVolumes", to: "[{name: more, emptyDir: {}}]", at: pod + "volumes[name=more].emptyDir", want: "{}"},
		{value: key + ".extraVolumeMounts", to: "[{name: tmp, mountPath: /more}]", at: container + "volumeMounts[mountPath=/more].name", want: "tmp"},
	}
}

func networkChanges() []change {
	all := []change{
		{value: "hyperledgerVersion", to: "2.5.9", at: main + "image", want: "hyperledger/fabric-peer:2.5.9"},
		{value: "hyperledgerVersion", to: "1.4.9", more: "hyperledgerVersion: 2.5.9", at: ordMain + "image", want: "hyperledger/fabric-orderer:3.1.1"},
		{value: "image.registry", to: "mirror.test", at: peerPod + "initContainers[0].image", want: "mirror.test/pivt/pivt:dev"},
		{value: "image.repository", to: "my/pivt", at: peerPod + "initContainers[0].image", want: "my/pivt:dev"},
		{value: "image.tag", to: "v9", at: peerPod + "initContainers[0].image", want: "pivt/pivt:v9"},
		{value: "image.digest", to: digest1, at: peerPod + "initContainers[0].image", want: "pivt/pivt@" + digest1},
		{value: "imagePullPolicy", to: "Never", at: main + "imagePullPolicy", want: "Never"},
		{value: "imagePullPolicy", to: "Never", at: ordMain + "imagePullPolicy", want: "Never"},
		{value: "imagePullSecrets", to: "[{name: key}]", at: ordPod + "imagePullSecrets[0].name", want: "key"},
		{value: "persistence.storageClass", to: "slow", at: peer + "spec.volumeClaimTemplates[0].spec.storageClassName", want: "slow"},
		{value: "orderer.podDisruptionBudget.enabled", to: "false", at: "PodDisruptionBudget/hlf-orderer kind", want: "absent"},
		{value: "orderer.podDisruptionBudget.maxUnavailable", to: "2", at: "PodDisruptionBudget/hlf-orderer spec.maxUnavailable", want: "2"},
		{value: "peer.podDisruptionBudget.enabled", to: "false", at: "PodDisruptionBudget/hlf-peer--org1 kind", want: "absent"},
		{value: "peer.podDisruptionBudget.maxUnavailable", to: "50%", at: "PodDisruptionBudget/hlf-peer--org1 spec.maxUnavailable", want: "50%"},
		{value: "peer.stateDatabase", to: "CouchDB", at: main + "env[name=CORE_LEDGER_STATE_STATEDATABASE].value", want: "CouchDB"},
		{value: "peer.stateDatabase", to: "CouchDB", at: couch + "env[name=COUCHDB_PASSWORD].valueFrom.secretKeyRef", want: "{name: hlf-couchdb--org1--peer0, key: password}"},
		{value: "launcher.resources", to: "{limits: {memory: 1Mi}}", at: peerPod + "initContainers[0].resources.limits.memory", want: "1Mi"},
		{value: "couchdb.image.registry", to: "mirror.test", more: useCDB, at: couch + "image", want: "mirror.test/couchdb:3.4.2"},
		{value: "couchdb.image.repository", to: "my/couch", more: useCDB, at: couch + "image", want: "my/couch:3.4.2"},
		{value: "couchdb.image.tag", to: "v3", more: useCDB, at: couch + "image", want: "couchdb:v3"},
		{value: "couchdb.image.digest", to: digest1, more: useCDB, at: couch + "image", want: "couchdb:3.4.2@" + digest1},
		{value: "couchdb.persistence.enabled", to: "false", more: useCDB, at: peerPod + "volumes[name=couchdb].emptyDir", want: "{}"},
		{value: "couchdb.persistence.size", to: "8Gi", more: useCDB, at: peer + "spec.volumeClaimTemplates[1].spec.resources.requests.storage", want: "8Gi"},
		{value: "couchdb.persistence.storageClass", to: "fast", more: useCDB, at: peer + "spec.volumeClaimTemplates[1].spec.storageClassName", want: "fast"},
		{value: "couchdb.resources", to: "{limits: {cpu: 3}}", more: useCDB, at: couch + "resources.limits.cpu", want: "3"},
		{value: "couchdb.containerSecurityContext", to: "{runAsUser: 9}", more: useCDB, at: couch + "securityContext.runAsUser", want: "9"},
		{value: "metrics.enabled", to: "true", at: main + "env[name=CORE_METRICS_PROVIDER].value", want: "prometheus"},
		{value: "metrics.enabled", to: "true", at: ordMain + "env[name=ORDERER_METRICS_PROVIDER].value", want: "prometheus"},
		{value: "metrics.from", to: "[{podSelector: {matchLabels: {app: prometheus}}}]", more: "metrics: {enabled: true}", at: "NetworkPolicy/hlf-peer spec.ingress[1]",
			want: "{from: [{podSelector: {matchLabels: {app: prometheus}}}], ports: [{port: 9443}]}"},
		{value: "networkPolicy.enabled", to: "false", at: "NetworkPolicy/hlf-default-deny kind", want: "absent"},
		{value: "networkPolicy.dns", to: "[{ipBlock: {cidr: 169.254.0.0/16}}]", at: "NetworkPolicy/hlf-chaincode spec.egress[0].to", want: "[{ipBlock: {cidr: 169.254.0.0/16}}]"},
		{value: "networkPolicy.chaincodeEgress", to: "[{ports: [{port: 443}]}]", at: "NetworkPolicy/hlf-chaincode spec.egress[1].ports[0].port", want: "443"},
		{value: "extraObjects", to: "[{apiVersion: v1, kind: ConfigMap, metadata: {name: more}, data: {in: '{{ .Release.Namespace }}'}}]", at: "ConfigMap/more data.in", want: "default"},
	}
	all = append(all, launcherChanges()...)
	all = append(all, serverChanges()...)
	all = append(all, nodeChanges("orderer", ord, ordPod, ordMain)...)
	return append(all, nodeChanges("peer", peer, peerPod, main)...)
}

func flowChanges(flow string) []change {
	wf := "Workflow/" + flow + "- "
	probe := wf + "spec.templates[name=probe]."
	other := map[string]string{ChannelFlow: "templates[name=join]", ChaincodeFlow: "templates[name=smoke]"}[flow]
	all := []change{
		{value: "hyperledgerVersion", to: "2.5.9", at: wf + "spec.arguments.parameters[0].value.hyperledgerVersion", want: "2.5.9"},
		{value: "image.registry", to: "mirror.test", at: probe + "container.image", want: "mirror.test/pivt/pivt:dev"},
		{value: "image.repository", to: "my/pivt", at: probe + "container.image", want: "my/pivt:dev"},
		{value: "image.tag", to: "v9", at: wf + "spec." + other + ".container.image", want: "pivt/pivt:v9"},
		{value: "image.digest", to: digest1, at: probe + "container.image", want: "pivt/pivt@" + digest1},
		{value: "imagePullPolicy", to: "Always", at: probe + "container.imagePullPolicy", want: "Always"},
		{value: "imagePullSecrets", to: "[{name: key}]", at: wf + "spec.imagePullSecrets[0].name", want: "key"},
		{value: "flow.wait", to: "5s", at: probe + "container.args[3]", want: "--wait=5s"},
		{value: "flow.deadlineSeconds", to: "3000000", at: wf + "spec.activeDeadlineSeconds", want: "3000000"},
		{value: "flow.parallelism", to: "3", at: wf + "spec.parallelism", want: "3"},
		{value: "flow.parallelism", to: "0", at: wf + "spec.parallelism", want: "absent"},
		{value: "flow.retry.limit", to: "2", at: probe + "retryStrategy.limit", want: "'2'"},
		{value: "flow.retry.duration", to: "1s", at: probe + "retryStrategy.backoff.duration", want: "1s"},
		{value: "flow.retry.factor", to: "3", at: probe + "retryStrategy.backoff.factor", want: "'3'"},
		{value: "flow.retry.cap", to: "9m", at: probe + "retryStrategy.backoff.cap", want: "9m"},
		{value: "flow.podGC.strategy", to: "OnPodCompletion", at: wf + "spec.podGC.strategy", want: "OnPodCompletion"},
		{value: "flow.podGC.deleteDelay", to: "1h", at: wf + "spec.podGC.deleteDelayDuration", want: "1h"},
		{value: "flow.ttl.secondsAfterSuccess", to: "1", at: wf + "spec.ttlStrategy.secondsAfterSuccess", want: "1"},
		{value: "flow.ttl.secondsAfterFailure", to: "9000000", at: wf + "spec.ttlStrategy.secondsAfterFailure", want: "9000000"},
		{value: "flow.serviceAccountName", to: "other", at: wf + "spec.serviceAccountName", want: "other"},
		{value: "flow.resources", to: "{limits: {cpu: 4}}", at: probe + "container.resources.limits.cpu", want: "4"},
		{value: "flow.nodeSelector", to: "{disk: ssd}", at: wf + "spec.nodeSelector.disk", want: "ssd"},
		{value: "flow.tolerations", to: "[{key: k}]", at: wf + "spec.tolerations[0].key", want: "k"},
		{value: "flow.affinity", to: "{nodeAffinity: {}}", at: wf + "spec.affinity", want: "{nodeAffinity: {}}"},
		{value: "flow.priorityClassName", to: "high", at: wf + "spec.podPriorityClassName", want: "high"},
		{value: "flow.podLabels", to: "{team: a}", at: wf + "spec.podMetadata.labels.team", want: "a"},
		{value: "flow.podAnnotations", to: "{note: a}", at: wf + "spec.podMetadata.annotations.note", want: "a"},
		{value: "flow.extraEnv", to: "[{name: GOGC, value: '50'}]", at: probe + "container.env[0].value", want: "'50'"},
		{value: "flow.podSecurityContext", to: "{runAsUser: 5}", at: wf + "spec.securityContext.runAsUser", want: "5"},
		{value: "flow.containerSecurityContext", to: "{privileged: false}", at: probe + "container.securityContext.privileged", want: "false"},
		{value: "flow.executorSecurityContext", to: "{runAsUser: 8}", at: wf + "spec.podSpecPatch.containers[name=wait].securityContext.runAsUser", want: "8"},
		{value: "flow.executorSecurityContext", to: "{runAsUser: 8}", at: wf + "spec.podSpecPatch.initContainers[name=init].securityContext.runAsUser", want: "8"},
	}
	tasks := wf + "spec.templates[name=main].dag.tasks"
	if flow == ChannelFlow {
		return append(all,
			change{value: "flow.channel.include", to: "[two]", more: "network: {channels: [{name: one, orgs: [Org1]}, {name: two, orgs: [Org1]}]}", at: tasks + "[1].name", want: "create-two"},
		)
	}
	install := wf + "spec.templates[name=install]."
	return append(all,
		change{value: "flow.chaincode.include", to: "[two]", more: "network: {chaincodes: [" + chaincode("one") + ", " + chaincode("two") + "]}", at: tasks + "[1].name", want: "install-two-org1"},
		change{value: "registry.secretName", to: "login", at: install + "volumes[name=registry].secret.secretName", want: "login"},
		change{value: "registry.secretName", to: "login", at: install + "container.env[name=DOCKER_CONFIG].value", want: "/run/pivt/registry"},
		change{value: "registry.secretName", to: "login", at: install + "container.volumeMounts[name=registry].mountPath", want: "/run/pivt/registry"},
		change{value: "registry.caConfigMap", to: "our-ca", at: install + "volumes[name=registry-ca].configMap.name", want: "our-ca"},
		change{value: "registry.caConfigMap", to: "our-ca", at: install + "container.volumeMounts[name=registry-ca].mountPath", want: "/run/pivt/registry-ca"},
		change{value: "registry.caConfigMap", to: "our-ca", at: install + "container.env[name=SSL_CERT_DIR].value", want: "/run/pivt/registry-ca:/etc/ssl/certs"},
		change{value: "chaincode.version", to: `"2.0"`, at: wf + "spec.arguments.parameters[0].value.chaincode.version", want: "'2.0'"},
	)
}

func chaincode(name string) string {
	return fmt.Sprintf("{name: %s, image: %q, channels: [{name: mychannel}]}", name, "pivt/"+name+"@"+digest1)
}

// Every value of every chart does what its comment says.
func TestEveryValueDoesSomething(t *testing.T) {
	t.Parallel()
	s := sampleNamed(t, "test-network")
	for _, name := range Names() {
		changes := networkChanges()
		switch name {
		case Network:
		case BackupFlow:
			changes = backupChanges()
		default:
			changes = flowChanges(name)
		}
		c, err := load(name)
		if err != nil {
			t.Fatal(err)
		}
		tested := map[string]bool{"OrdererOrgs": true, "PeerOrgs": true, "network": true} // the goldens'
		for _, ch := range changes {
			tested[ch.value] = true
		}
		for _, path := range leaves(c.Values, "", tested) {
			t.Errorf("%s: no test changes value %s", name, path)
		}
		for _, ch := range changes {
			t.Run(name+"/"+ch.value+"="+ch.to, func(t *testing.T) {
				t.Parallel()
				more := ch.more
				if more == "" {
					more = "{global: {}}"
				}
				values := with(t, s, more)
				before, _ := find(t, mustRender(t, name, values), ch.at)
				var to any
				if err := yaml.Unmarshal([]byte(ch.to), &to); err != nil {
					t.Fatal(err)
				}
				set(values, ch.value, to)
				got, known := find(t, mustRender(t, name, values), ch.at)
				if !known {
					got = "absent"
				}
				var want any
				if err := yaml.Unmarshal([]byte(ch.want), &want); err != nil {
					t.Fatal(err)
				}
				if text(t, got) != text(t, want) {
					t.Errorf("%s is\n%s, want\n%s", ch.at, text(t, got), text(t, want))
				}
				if text(t, before) == text(t, got) {
					t.Errorf("%s was so before the change; this test cannot fail", ch.at)
				}
			})
		}
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// leaves lists the values that no tested path names, itself or above.
func leaves(values map[string]any, at string, tested map[string]bool) []string {
	var all []string
	for key, v := range values {
		path := strings.TrimPrefix(at+"."+key, ".")
		inner, isMap := v.(map[string]any)
		switch {
		case tested[path]:
		case isMap && len(inner) > 0:
			all = append(all, leaves(inner, path, tested)...)
		default:
			all = append(all, path)
		}
	}
	sort.Strings(all)
	return all
}

// find walks to a place in a manifest. Text on the way is read as YAML: parameter network,
// podSpecPatch and launcher.yaml are. A comma stands for a dot in a key.
func find(t *testing.T, manifest []byte, at string) (any, bool) {
	t.Helper()
	object, path, _ := strings.Cut(at, " ")
	o := objects(t, manifest)[object]
	if o == nil {
		return nil, false
	}
	var v any = o.Object
	for _, part := range strings.FieldsFunc(path, func(c rune) bool { return c == '.' || c == '[' }) {
		selector, isItem := strings.CutSuffix(part, "]")
		if s, ok := v.(string); ok {
			if err := yaml.Unmarshal([]byte(s), &v); err != nil {
				t.Fatal(err)
			}
		}
		if !isItem {
			m, ok := v.(map[string]any)
			if !ok {
				return nil, false
			}
			if v, ok = m[strings.ReplaceAll(part, ",", ".")]; !ok {
				return nil, false
			}
			continue
		}
		items, ok := v.([]any)
		if !ok {
			return nil, false
		}
		i, err := strconv.Atoi(selector)
		if err != nil {
			key, value, _ := strings.Cut(selector, "=")
			i = slices.IndexFunc(items, func(item any) bool {
				m, ok := item.(map[string]any)
				return ok && fmt.Sprint(m[key]) == value
			})
		}
		if i < 0 || i >= len(items) {
			return nil, false
		}
		v = items[i]
	}
	return v, true
}
