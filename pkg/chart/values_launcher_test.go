package chart

// launcherChanges are the values that reach the launcher through its ConfigMap.
func launcherChanges() []change {
	const (
		file  = "ConfigMap/hlf-launcher data.launcher,yaml."
		build = file + "build."
		key   = "launcher."
	)
	all := []change{
		{value: key + "awaitNetwork", to: "true", at: file + "awaitNetwork", want: "true"},
		{value: key + "awaitNetwork", to: "true", at: "NetworkPolicy/hlf-peer--org1--peer0 spec.ingress[0].from[0].podSelector.matchLabels", want: "{pivt.io/node: hlf-peer--org1--peer0}"},
		{value: key + "dynamicLink", to: "true", at: file + "dynamicLink", want: "true"},
		{value: "hyperledgerVersion", to: "2.5.9", at: file + "images.golang.build", want: "hyperledger/fabric-ccenv:2.5"},
		{value: "imagePullSecrets", to: "[{name: key}]", at: file + "chaincode.pod.spec.imagePullSecrets[0].name", want: "key"},
		{value: "imagePullSecrets", to: "[{name: key}]", at: build + "pod.spec.imagePullSecrets[0].name", want: "key"},
		{value: key + "build.goProxy", to: "https://goproxy.test", at: build + "env[name=GOPROXY].value", want: "https://goproxy.test"},
		{value: key + "build.goSumDB", to: "'off'", at: build + "env[name=GOSUMDB].value", want: "'off'"},
		{value: key + "build.npmRegistry", to: "https://npm.test", at: build + "env[name=npm_config_registry].value", want: "https://npm.test"},
		{value: key + "build.proxy.http", to: "http://proxy.test", at: build + "env[name=HTTP_PROXY].value", want: "http://proxy.test"},
		{value: key + "build.proxy.https", to: "http://proxy.test", at: build + "env[name=https_proxy].value", want: "http://proxy.test"},
		{value: key + "build.proxy.noProxy", to: ".test", at: build + "env[name=NO_PROXY].value", want: ".test"},
		{value: key + "build.caCertificates", to: "PEM", at: build + "ca", want: "PEM"},
		{value: key + "build.extraEnv", to: "[{name: GOFLAGS, value: -v}]", at: build + "env[name=GOFLAGS].value", want: "-v"},
		{value: key + "build.timeout", to: "3m", at: build + "timeout", want: "3m"},
		{value: key + "build.maxBytes", to: "30000000000", at: build + "maxBytes", want: "30000000000"},
		{value: key + "build.pod", to: "{spec: {nodeSelector: {disk: ssd}}}", at: build + "pod.spec.nodeSelector.disk", want: "ssd"},
		{value: key + "pod", to: "{spec: {priorityClassName: high}}", at: file + "chaincode.pod.spec.priorityClassName", want: "high"},
		{value: key + "chaincodes", to: "{basic: {metadata: {labels: {team: a}}}}", at: file + "chaincodes.basic.metadata.labels.team", want: "a"},
		{value: "networkPolicy.buildEgress", to: "[{ports: [{port: 8443}]}]", at: "NetworkPolicy/hlf-chaincode-build spec.egress[1].ports[0].port", want: "8443"},
	}
	for _, i := range []struct{ of, image string }{
		{"golang.build", "hyperledger/fabric-ccenv:3.1"}, {"golang.run", "hyperledger/fabric-baseos:3.1"},
		{"java.build", "hyperledger/fabric-javaenv:2.5"}, {"java.run", "hyperledger/fabric-javaenv:2.5"},
		{"node.build", "hyperledger/fabric-nodeenv:2.5"}, {"node.run", "hyperledger/fabric-nodeenv:2.5"},
	} {
		at, image := file+"images."+i.of, key+"images."+i.of
		name := i.image[:len(i.image)-len(":3.1")]
		all = append(all,
			change{value: image + ".registry", to: "mirror.test", at: at, want: "mirror.test/" + i.image},
			change{value: image + ".repository", to: "my/env", at: at, want: "my/env" + i.image[len(name):]},
			change{value: image + ".tag", to: "v9", at: at, want: name + ":v9"},
			change{value: image + ".digest", to: digest1, at: at, want: name + "@" + digest1},
		)
	}
	return all
}
