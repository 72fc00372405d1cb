package keeper

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/network"
)

// Nodes answers for Fabric.
type Nodes interface {
	// Heights are how many blocks the node has of each of its channels.
	Heights(ctx context.Context, n *network.Node) (map[string]uint64, error)
	// Serving is nil if the node does its part in the channels that floor names, and has so many
	// blocks of them. It looks once.
	Serving(ctx context.Context, n *network.Node, floor map[string]uint64) error
}

// Keeper moves the nodes of one network.
type Keeper struct {
	Kube      kubernetes.Interface
	Dynamic   dynamic.Interface // Argo's workflows and VolumeSnapshots
	Namespace string
	Network   *network.Network
	// NetworkFile is what Network was read from; copy pods get it.
	NetworkFile []byte
	Settings    backup.Settings
	Pod         string // in which we run, "" for none
	Workflow    string // for which we work, "" for none
	Nodes       Nodes
	// Put keeps what was saved of a node, for the manifest. It is called when the copy counts.
	Put  func(ctx context.Context, key string, n backup.Node) error
	Log  *slog.Logger     // nil for none
	Now  func() time.Time // nil for time.Now
	Poll time.Duration    // between two looks; 0 for a second

	times    times // zero for the defaults
	once     sync.Once
	identity string      // of this process among all that may hold a node
	answered atomic.Bool // the API server has let us do something
}

// times are how long things may take. Tests have shorter ones.
type times struct {
	call    time.Duration // one request
	away    time.Duration // the API server
	refused time.Duration // an API server that has just started answers "forbidden" until it has read all roles
	parting time.Duration // starting a node after we were asked to end; Kubernetes kills after 30 s
	beat    time.Duration // between two signs of life
	silence time.Duration // without a sign of life: the holder is dead
	grace   time.Duration // beyond maxDowntime, until the guard starts a node of a living keeper
	dead    time.Duration // without a sign of life: not even a guard is left
	settle  time.Duration // nodes that are starting when the backup begins, or others of a quorum
	stop    time.Duration // beyond its own grace period, until a pod that does not end is given up
	stuck   time.Duration // a pod that has a reason not to run
	start   time.Duration // a pod without one
	breath  time.Duration // between two nodes of a quorum, for what waits to be ordered
	ready   time.Duration // a node until it serves again
	recover time.Duration // the same after a restore: it may build its state database from all blocks
	cut     time.Duration // a VolumeSnapshot until its moment has come
	report  time.Duration // between two lines of a wait
}

func defaultTimes() times {
	return times{
		call: 30 * time.Second, away: 5 * time.Minute, refused: 30 * time.Second, parting: 20 * time.Second,
		beat: 10 * time.Second, silence: time.Minute, grace: 5 * time.Minute, dead: 10 * time.Minute,
		settle: 2 * time.Minute, stop: time.Minute, stuck: 45 * time.Second, start: 4 * time.Minute,
		breath: 10 * time.Second, ready: 15 * time.Minute, recover: 2 * time.Hour, cut: 5 * time.Minute, report: 20 * time.Second,
	}
}

// defaults fills in what was left out.
func (k *Keeper) defaults() *Keeper {
	k.once.Do(func() {
		if k.Log == nil {
			k.Log = slog.New(slog.DiscardHandler)
		}
		if k.Now == nil {
			k.Now = time.Now
		}
		k.Poll = cmp.Or(k.Poll, time.Second)
		if k.times == (times{}) {
			k.times = defaultTimes()
		}
		k.identity = cmp.Or(k.Pod, "pivt") + "/" + random()
	})
	return k
}

// random tells apart what has the same name otherwise.
func random() string {
	raw := make([]byte, 5)
	if _, err := rand.Read(raw); err != nil {
		panic("unreachable: crypto/rand does not fail: " + err.Error())
	}
	return hex.EncodeToString(raw)
}

// call asks the API server, again while it is away.
func (k *Keeper) call(ctx context.Context, f func(context.Context) error) error {
	begun, told := time.Now(), false
	for {
		once, cancel := context.WithTimeout(ctx, k.times.call)
		err := f(once)
		cancel()
		switch {
		case err == nil:
			k.answered.Store(true)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !k.passing(err, time.Since(begun)):
			return err
		case time.Since(begun) > k.times.away:
			return exit.Transient(fmt.Errorf("the API server has been unavailable for %s: %w", k.times.away, err))
		}
		if !told {
			told = true
			k.Log.Warn("the API server does not answer; trying again", "error", err)
		}
		if err := k.pause(ctx); err != nil {
			return err
		}
	}
}

func (k *Keeper) passing(err error, since time.Duration) bool {
	return kube.IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded) ||
		apierrors.IsForbidden(err) && strings.Contains(err.Error(), " cannot ") && k.answered.Load() && since < k.times.refused
}

func (k *Keeper) pause(ctx context.Context) error { return sleep(ctx, k.Poll) }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// await looks until there is nothing to wait for, or an error that waiting does not cure. look
// says what is waited for; that is in the error when the time is over, and in the log.
func (k *Keeper) await(ctx context.Context, limit time.Duration, log *slog.Logger, look func(context.Context) (waiting string, err error)) error {
	begun, said, at := time.Now(), "", time.Time{}
	for {
		waiting, err := look(ctx)
		if err != nil || waiting == "" {
			return err
		}
		if limit > 0 && time.Since(begun) > limit {
			return &lateError{waiting, limit}
		}
		if waiting != said || time.Since(at) > k.times.report {
			said, at = waiting, time.Now()
			log.Info("waiting", "for", waiting, "elapsed", time.Since(begun).Round(time.Second).String())
		}
		if err := k.pause(ctx); err != nil {
			return fmt.Errorf("%w; last seen: %s", err, waiting)
		}
	}
}

// lateError is the end of a wait.
type lateError struct {
	waiting string
	limit   time.Duration
}

func (e *lateError) Error() string { return fmt.Sprintf("%s, for %s now", e.waiting, e.limit) }
