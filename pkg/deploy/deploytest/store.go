package deploytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// store keeps an object, or forgets it, tells the controllers, and wakes who watches. The lock
// is held.
func (c *Cluster) store(event, path string, o object) object {
	o = copied(o)
	meta, _ := o["metadata"].(object)
	if meta["uid"] == nil {
		meta["uid"] = fmt.Sprintf("uid-%d", len(c.history)+1)
		meta["generation"] = 1
		meta["creationTimestamp"] = "2026-11-21T12:00:00Z"
	}
	if event == "DELETED" {
		delete(c.objects, path)
	} else {
		c.control(path, o)
		c.objects[path] = o
	}
	meta["resourceVersion"] = strconv.Itoa(len(c.history) + 1)
	c.history = append(c.history, change{event, path, o})
	close(c.news)
	c.news = make(chan struct{})
	return o
}

func (c *Cluster) list(w http.ResponseWriter, q *request) {
	items := []object{}
	for _, path := range sortedKeys(c.objects) {
		if o := c.objects[path]; q.matches(path, o) {
			items = append(items, c.typed(q, o))
		}
	}
	answer(w, http.StatusOK, object{"kind": q.kind.name + "List", "apiVersion": q.gv, "items": items,
		"metadata": object{"resourceVersion": strconv.Itoa(len(c.history))}})
}

// watch sends what has happened since the asked version, and what happens, until the client
// goes away.
func (c *Cluster) watch(w http.ResponseWriter, q *request) {
	next, _ := strconv.Atoi(q.URL.Query().Get("resourceVersion"))
	w.Header().Set("Content-Type", "application/json")
	for {
		c.mu.Lock()
		news, woken := c.history[next:], c.news
		next = len(c.history)
		var events []object
		for _, n := range news {
			if q.matches(n.path, n.object) {
				events = append(events, object{"type": n.event, "object": c.typed(q, n.object)})
			}
		}
		c.mu.Unlock()
		for _, e := range events {
			_ = json.NewEncoder(w).Encode(e)
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-q.Context().Done():
			return
		case <-woken:
		}
	}
}

// matches reports whether a list or watch is about an object.
func (q *request) matches(path string, o object) bool {
	rest, ok := strings.CutPrefix(path, q.path("")+"/")
	if !ok || strings.Contains(rest, "/") {
		return false
	}
	byLabel, err := labels.Parse(q.URL.Query().Get("labelSelector"))
	if err != nil {
		return false
	}
	byField, err := fields.ParseSelector(q.URL.Query().Get("fieldSelector"))
	if err != nil {
		return false
	}
	meta, _ := o["metadata"].(object)
	set := labels.Set{}
	own, _ := meta["labels"].(object)
	for k, v := range own {
		set[k] = fmt.Sprint(v)
	}
	return byLabel.Matches(set) && byField.Matches(fields.Set{"metadata.name": fmt.Sprint(meta["name"])})
}

// merge lays b over a: maps merge, everything else is replaced, and null removes.
func merge(a, b object) object {
	out := make(object, len(a)+len(b))
	for k, v := range a {
		out[k] = v
	}
	for k, v := range b {
		inner, isMap := v.(object)
		old, wasMap := out[k].(object)
		switch {
		case v == nil:
			delete(out, k)
		case isMap && wasMap:
			out[k] = merge(old, inner)
		default:
			out[k] = v
		}
	}
	return out
}

// copied is a deep copy with the types that JSON has.
func copied(o object) object {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // it came from JSON
	}
	var out object
	if err := json.Unmarshal(b, &out); err != nil {
		panic(err)
	}
	if _, ok := out["metadata"].(object); !ok {
		out["metadata"] = object{}
	}
	return out
}

func same(a, b object) bool { return reflect.DeepEqual(copied(a), copied(b)) }
