package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// Source lists and watches some objects of one kind: the typed clients' methods, with a
// selector put in.
type Source struct {
	List  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	Watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	// Selector chooses by label, Field by field; both may be empty.
	Selector, Field string
}

// Follower sees what Follow follows.
type Follower struct {
	// Update gets all objects by name, after every change. The map is the receiver's only
	// during the call; the objects must not be changed.
	Update func(map[string]metav1.Object)
	// Trouble hears why nothing is seen at the moment, once per change of the reason, and
	// nil when all is well again. It may be nil.
	Trouble func(error)
}

const (
	followPause = time.Second     // between attempts while the API server is away
	followRound = 5 * time.Minute // how long one watch may last
	// RBAC answers "forbidden" while an API server starts, so what was once allowed is asked
	// for again for this long.
	followPatience = time.Minute
)

// Follow lists objects, watches them, and starts over when the watch ends, until ctx is done; it then
// returns ctx's error. Being told to go away (forbidden, no such kind) ends it, too.
func Follow(ctx context.Context, s Source, f Follower) error {
	var lastGood time.Time
	said := ""
	for {
		seen := false
		err := followOnce(ctx, s, func(objects map[string]metav1.Object) {
			seen = true
			if said != "" && f.Trouble != nil {
				f.Trouble(nil)
			}
			said = ""
			f.Update(objects)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if seen {
			lastGood = time.Now()
			if err == nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
				continue
			}
		}
		if refused(err) && time.Since(lastGood) > followPatience {
			return Explain(err)
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			if f.Trouble != nil {
				f.Trouble(err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followPause):
		}
	}
}

// refused tells answers that will stay from an API server that is away.
func refused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) ||
		apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) || apierrors.IsMethodNotSupported(err)
}

func followOnce(ctx context.Context, s Source, update func(map[string]metav1.Object)) error {
	objects, version, err := s.list(ctx)
	if err != nil {
		return err
	}
	update(objects)

	seconds := int64(followRound.Seconds())
	w, err := s.Watch(ctx, metav1.ListOptions{
		LabelSelector: s.Selector, FieldSelector: s.Field,
		ResourceVersion: version, TimeoutSeconds: &seconds, AllowWatchBookmarks: true,
	})
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, open := <-w.ResultChan():
			if !open {
				return nil
			}
			if err := apply(objects, event); err != nil {
				return err
			}
			if event.Type != watch.Bookmark {
				update(objects)
			}
		}
	}
}

// Look lists the objects once, by name.
func Look(ctx context.Context, s Source) (map[string]metav1.Object, error) {
	objects, _, err := s.list(ctx)
	return objects, err
}

// list also returns the version from which a watch goes on.
func (s Source) list(ctx context.Context) (map[string]metav1.Object, string, error) {
	list, err := s.List(ctx, metav1.ListOptions{LabelSelector: s.Selector, FieldSelector: s.Field})
	if err != nil {
		return nil, "", err
	}
	objects := map[string]metav1.Object{}
	err = meta.EachListItem(list, func(o runtime.Object) error {
		m, err := meta.Accessor(o)
		if err == nil {
			objects[m.GetName()] = m
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	m, err := meta.ListAccessor(list)
	if err != nil {
		return nil, "", err
	}
	return objects, m.GetResourceVersion(), nil
}

func apply(objects map[string]metav1.Object, event watch.Event) error {
	switch event.Type {
	case watch.Error:
		return apierrors.FromObject(event.Object)
	case watch.Bookmark:
		return nil
	case watch.Added, watch.Modified, watch.Deleted:
	default:
		return fmt.Errorf("watching: event of unknown type %q", event.Type)
	}
	m, err := meta.Accessor(event.Object)
	if err != nil {
		return errors.Join(errors.New("watching: event without object"), err)
	}
	if event.Type == watch.Deleted {
		delete(objects, m.GetName())
		return nil
	}
	objects[m.GetName()] = m
	return nil
}
