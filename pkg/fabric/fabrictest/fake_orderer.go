package fabrictest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/protobuf/proto"

	"pivt.io/pivt/pkg/network"
)

// participationServer is an orderer's channel participation API.
type participationServer struct {
	f    *Nodes
	node *network.Node
}

func (p *participationServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	mine := p.f.nodes[p.node.Name()]
	name, one := strings.CutPrefix(r.URL.Path, "/participation/v1/channels/")
	switch {
	case one && r.Method == http.MethodGet:
		if !mine.joined[name] {
			answer(w, http.StatusNotFound, map[string]string{"error": "channel does not exist"})
			return
		}
		answer(w, http.StatusOK, p.info(name))
	case r.URL.Path == "/participation/v1/channels" && r.Method == http.MethodGet:
		list := []map[string]any{}
		for name := range mine.joined {
			list = append(list, p.info(name))
		}
		answer(w, http.StatusOK, map[string]any{"systemChannel": nil, "channels": list})
	case r.URL.Path == "/participation/v1/channels" && r.Method == http.MethodPost:
		p.join(w, r, mine)
	default:
		answer(w, http.StatusMethodNotAllowed, map[string]string{"error": "invalid request method: " + r.Method})
	}
}

func (p *participationServer) info(name string) map[string]any {
	relation := "follower"
	if slices.Contains(p.f.ledgers[name].orderers, p.node.Name()) {
		relation = "consenter"
	}
	return map[string]any{"name": name, "url": "/participation/v1/channels/" + name, "consensusRelation": relation,
		"status": "active", "height": len(p.f.ledgers[name].blocks)}
}

func (p *participationServer) join(w http.ResponseWriter, r *http.Request, mine *state) {
	refuse := func(code int, why string) { answer(w, code, map[string]string{"error": "cannot join: " + why}) }
	part, _, err := r.FormFile("config-block")
	if err != nil {
		refuse(http.StatusBadRequest, err.Error())
		return
	}
	data, err := io.ReadAll(part)
	if err != nil {
		refuse(http.StatusBadRequest, err.Error())
		return
	}
	block := &common.Block{}
	if err := proto.Unmarshal(data, block); err != nil {
		refuse(http.StatusBadRequest, err.Error())
		return
	}
	name, l, err := newLedger(block)
	if err != nil {
		refuse(http.StatusBadRequest, err.Error())
		return
	}
	if mine.joined[name] {
		refuse(http.StatusMethodNotAllowed, "channel already exists")
		return
	}
	if have := p.f.ledgers[name]; have == nil {
		p.f.ledgers[name] = l
	} else if !proto.Equal(have.genesis, block) {
		// A real orderer would start a second channel of that name and never agree with the first.
		p.f.t.Errorf("%s joined channel %s with another genesis block: the channel is split", p.node.Name(), name)
		refuse(http.StatusBadRequest, "another genesis block")
		return
	}
	mine.joined[name] = true
	answer(w, http.StatusCreated, p.info(name))
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

// ordererServer delivers blocks.
type ordererServer struct {
	orderer.UnimplementedAtomicBroadcastServer
	f    *Nodes
	node *network.Node
}

func (o *ordererServer) Deliver(stream orderer.AtomicBroadcast_DeliverServer) error {
	for {
		envelope, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		block, status := o.seek(envelope)
		if block != nil {
			if err := stream.Send(&orderer.DeliverResponse{Type: &orderer.DeliverResponse_Block{Block: block}}); err != nil {
				return err
			}
		}
		if err := stream.Send(&orderer.DeliverResponse{Type: &orderer.DeliverResponse_Status{Status: status}}); err != nil || status != common.Status_SUCCESS {
			return err
		}
	}
}

func (o *ordererServer) seek(envelope *common.Envelope) (*common.Block, common.Status) {
	payload, header, sig, seek := &common.Payload{}, &common.ChannelHeader{}, &common.SignatureHeader{}, &orderer.SeekInfo{}
	if proto.Unmarshal(envelope.GetPayload(), payload) != nil || proto.Unmarshal(payload.GetHeader().GetChannelHeader(), header) != nil ||
		proto.Unmarshal(payload.GetHeader().GetSignatureHeader(), sig) != nil || proto.Unmarshal(payload.GetData(), seek) != nil {
		return nil, common.Status_BAD_REQUEST
	}
	o.f.mu.Lock()
	defer o.f.mu.Unlock()
	name := header.GetChannelId()
	if !o.f.nodes[o.node.Name()].joined[name] {
		return nil, common.Status_NOT_FOUND
	}
	if seek.GetErrorResponse() == orderer.SeekInfo_STRICT && !o.f.hasLeader(name) {
		return nil, common.Status_SERVICE_UNAVAILABLE
	}
	l := o.f.ledgers[name]
	who, err := o.f.verify(sig.GetCreator(), envelope.GetPayload(), envelope.GetSignature())
	if err != nil || !slices.Contains(l.readers, who.mspID) {
		return nil, common.Status_FORBIDDEN
	}
	number := uint64(len(l.blocks) - 1)
	if s := seek.GetStart().GetSpecified(); s != nil {
		number = s.GetNumber()
	}
	if number >= uint64(len(l.blocks)) {
		return nil, common.Status_NOT_FOUND
	}
	return l.blocks[number], common.Status_SUCCESS
}
