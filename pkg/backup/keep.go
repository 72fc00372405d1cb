package backup

import (
	"fmt"
	"time"
)

// Keep says which backups a prune leaves: the newest ones, and the newest of each of the last
// days, weeks and months that have one. All zero means that everything is kept.
type Keep struct {
	Last    int `json:"last,omitempty"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
}

// Any reports whether a prune would look at anything.
func (k Keep) Any() bool { return k.Last > 0 || k.Daily > 0 || k.Weekly > 0 || k.Monthly > 0 }

// Split parts a list, newest first, into what stays and what a prune removes. Days, weeks
// (ISO) and months are those of UTC. Three rules come before the numbers: nothing is removed
// if nothing is asked for; the newest verified backup always stays, because it may be the only
// one that is worth anything; and an interrupted attempt stays until a later backup is complete,
// because until then it may be under way.
func (k Keep) Split(list []Summary) (keep, drop []Summary) {
	if !k.Any() {
		return list, nil
	}
	day := quota{left: k.Daily, of: func(t time.Time) string { return t.Format(time.DateOnly) }}
	week := quota{left: k.Weekly, of: func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }}
	month := quota{left: k.Monthly, of: func(t time.Time) string { return t.Format("2006-01") }}
	last, complete, verified := k.Last, false, false
	for _, s := range list {
		if !s.Complete {
			if complete {
				drop = append(drop, s)
			} else {
				keep = append(keep, s)
			}
			continue
		}
		complete = true
		stays := last > 0
		last--
		for _, q := range []*quota{&day, &week, &month} {
			stays = q.takes(s.Finished.UTC()) || stays
		}
		if s.Verified != nil && !verified {
			stays, verified = true, true
		}
		if stays {
			keep = append(keep, s)
		} else {
			drop = append(drop, s)
		}
	}
	return keep, drop
}

// quota takes the newest backup of each of so many periods.
type quota struct {
	left int
	seen string
	of   func(time.Time) string
}

func (q *quota) takes(t time.Time) bool {
	period := q.of(t)
	if q.left <= 0 || period == q.seen {
		return false
	}
	q.left--
	q.seen = period
	return true
}
