package keeper

import (
	"context"
	"fmt"
	"slices"

	"pivt.io/pivt/pkg/network"
)

// relearn restarts the orderers that are not restored, one after the other, before those that
// are may start.
//
// A Raft leader remembers how much of its log each follower has acknowledged. One that comes back
// with an older log is told to commit what it does not have, and etcd's Raft ends the process
// ("tocommit is out of range"). A leader that has just been elected remembers nothing and finds
// out, so everybody who could be leader is started anew. Each must have all blocks first: with the vote
// of an orderer that has forgotten some, one that lags could be elected, and the channel would fork.
//
// Of three orderers, with one restored, each restart takes the majority away for some seconds. Where those that are left
// are no majority, nobody is waited for to be elected.
func (k *Keeper) relearn(ctx context.Context, grips []*grip, quorum bool) error {
	if quorum || !slices.ContainsFunc(grips, func(g *grip) bool { return g.hold.Stage != Started && k.raft(g.t) }) {
		return nil
	}
	var others []target
	for _, o := range k.Network.OrdererOrgs {
		for _, t := range targetsOf(o.Nodes) {
			if k.raft(t) && !slices.ContainsFunc(grips, func(g *grip) bool { return g.t.Name == t.Name }) {
				others = append(others, t)
			}
		}
	}
	var live []target
	for _, t := range others {
		pod, err := k.pod(ctx, podOf(t.Name))
		if err != nil {
			return err
		}
		if pod != nil { // one that does not run is no leader
			live = append(live, t)
		}
	}
	wait := k.serving
	if !k.majority(live) {
		wait = k.level // nobody is elected before those that are restored start
	}
	for _, t := range live {
		floor := k.highest(ctx, live)
		pod, err := k.pod(ctx, podOf(t.Name))
		if err != nil {
			return err
		}
		if pod == nil {
			continue
		}
		k.Log.Info("restarting, because it remembers what the restored orderer has forgotten", t.Kind, t.Name)
		if err := k.remove(ctx, pod, k.times.stop+seconds(pod.Spec.TerminationGracePeriodSeconds)); err != nil {
			return fmt.Errorf("restarting %s: %w", t.Name, err)
		}
		if err := wait(ctx, t, floor, k.times.ready); err != nil {
			return err
		}
	}
	return nil
}

// highest is how far each channel is known to be, by these orderers and all peers that run: what a
// peer has was ordered, whoever remembers.
func (k *Keeper) highest(ctx context.Context, orderers []target) map[string]uint64 {
	all := slices.Clone(orderers)
	for _, o := range k.Network.PeerOrgs {
		all = append(all, targetsOf(o.Nodes)...)
	}
	floor := map[string]uint64{}
	for _, t := range all {
		for channel, height := range k.heights(ctx, t) {
			floor[channel] = max(floor[channel], height)
		}
	}
	return floor
}

// majority reports whether these orderers can elect a leader in every channel that Raft keeps.
func (k *Keeper) majority(live []target) bool {
	for _, ch := range k.Network.Channels {
		if ch.Consensus == network.BFT {
			continue
		}
		n := 0
		for _, o := range ch.Orderers() {
			if slices.ContainsFunc(live, func(t target) bool { return t.Name == o.Name() }) {
				n++
			}
		}
		if n <= len(ch.Orderers())/2 {
			return false
		}
	}
	return true
}

// raft reports whether the target is an orderer of a channel that Raft keeps.
func (k *Keeper) raft(t target) bool {
	if !t.orderer() {
		return false
	}
	return slices.ContainsFunc(k.Network.Channels, func(ch *network.Channel) bool {
		return ch.Consensus != network.BFT && slices.ContainsFunc(ch.OrdererOrgs, func(o *network.Org) bool { return o.Name == t.node.Org.Name })
	})
}
