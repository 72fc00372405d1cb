package launcher

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/runtime"
)

// launch is the step run: it ends when the chaincode has ended, and the other way round.
func launch(ctx context.Context, built, dir string, env func(string) string, stderr io.Writer) error {
	s, err := verify(built)
	if err != nil {
		return err
	}
	c, err := readChaincode(filepath.Join(dir, chaincodeFile))
	if err != nil {
		return err
	}
	config, err := readConfig(env("PIVT_LAUNCHER_CONFIG"))
	if err != nil {
		return err
	}
	if err := setProgram(&c, s.Kind, built, &config); err != nil {
		return err
	}
	peer, err := peerOf(env, s.Kind)
	if err != nil {
		return err
	}
	client, err := runtime.InCluster(env)
	if err != nil {
		return err
	}
	ctx, stop := untilStopped(ctx)
	defer stop()
	say := newSpeaker(stderr, stop)
	defer say.close()
	return runtime.Run(ctx, client, peer, c, runtime.Options{
		Output:       prefixed{say, "[" + c.Label() + "] "},
		Report:       func(s string) { say.report("chaincode " + c.Label() + ": " + s) },
		Image:        env("PIVT_IMAGE"),
		AwaitNetwork: config.AwaitNetwork,
		Templates:    config.chaincodeTemplates(c.Label(), env),
	})
}

// setProgram says what to run, by the kind of package.
func setProgram(c *runtime.Chaincode, k kind, built string, config *Config) error {
	switch {
	case k.source():
		path, command := program(k)
		c.Image = config.images(k).Run
		c.Program = &runtime.Program{Dir: filepath.Join(built, builtDir), Path: path, Command: command}
		return nil
	case k == kindImage:
		img, err := readImage(filepath.Join(built, imageFile))
		c.Image = img.String()
		return err
	}
	return fmt.Errorf("package %s: its chaincode is a server, which the peer dials and does not start", c.Label())
}

// untilStopped ends with SIGTERM, by which the peer asks, and when the peer is gone. The
// kernel could tell of a dead parent, but it means the thread that started us, and the
// peer's threads come and go.
func untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	signal.Ignore(syscall.SIGPIPE) // a peer that no longer reads must not cost the clean-up
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	parent := os.Getppid()
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if os.Getppid() != parent {
					stop()
				}
			}
		}
	}()
	return ctx, stop
}

const chaincodeFile = "chaincode.json"

// readChaincode reads what the peer says about this launch. Without TLS on the peer the
// three certificates are empty strings.
func readChaincode(path string) (runtime.Chaincode, error) {
	var in struct {
		ID         string `json:"chaincode_id"`
		Address    string `json:"peer_address"`
		ClientCert string `json:"client_cert"`
		ClientKey  string `json:"client_key"`
		RootCert   string `json:"root_cert"`
		MSPID      string `json:"mspid"`
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return runtime.Chaincode{}, fmt.Errorf("reading what to launch: %w", err)
	}
	if err := json.Unmarshal(data, &in); err != nil {
		// Not %w of the text around: it holds a private key.
		return runtime.Chaincode{}, fmt.Errorf("%s does not parse", chaincodeFile)
	}
	return runtime.Chaincode{
		ID: in.ID, PeerAddress: in.Address, MSPID: in.MSPID,
		ClientCert: in.ClientCert, ClientKey: in.ClientKey, RootCert: in.RootCert,
	}, nil
}

// peerOf reads who we are from what the peer passes on of its environment. Source needs
// more than an image does: code is fetched from us by the pivt image.
func peerOf(env func(string) string, k kind) (runtime.Peer, error) {
	p := runtime.Peer{
		Namespace: env("PIVT_NAMESPACE"), Node: env("PIVT_NODE"), Org: env("PIVT_ORG"),
		Pod: env("PIVT_POD_NAME"), UID: env("PIVT_POD_UID"), IP: env("PIVT_POD_IP"),
		TLS: runtime.TLSFiles{
			Cert:  env("CORE_PEER_TLS_CERT_FILE"),
			Key:   env("CORE_PEER_TLS_KEY_FILE"),
			Roots: env("CORE_PEER_TLS_ROOTCERT_FILE"),
		},
	}
	var missing []string
	needed := []string{"PIVT_NAMESPACE", "PIVT_NODE", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}
	if k.source() {
		needed = append(needed, "PIVT_POD_IP", "PIVT_IMAGE")
	}
	for _, v := range needed {
		if env(v) == "" {
			missing = append(missing, v)
		}
	}
	if missing != nil {
		return p, exit.WithHint(fmt.Errorf("not set: %s", strings.Join(missing, ", ")),
			"the peer passes on only what chaincode.externalBuilders[].propagateEnvironment lists")
	}
	return p, nil
}
