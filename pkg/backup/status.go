package backup

import (
	"slices"
	"time"
)

// StatusConfigMap holds the Status of the network in its namespace, under StatusKey.
const (
	StatusConfigMap = "hlf-backup"
	StatusKey       = "status.json"
)

// Status is what the cluster remembers of its backups, so that a look at the network needs
// no look at the repository.
type Status struct {
	LastVerified *Event `json:"lastVerified,omitempty"`
	Last         *Event `json:"last,omitempty"` // sealed, verified or not
	LastFailure  *Event `json:"lastFailure,omitempty"`
	// Void is only in news: keys of backups that were deleted or found damaged.
	Void []string `json:"-"`
}

// Event is something that happened to a backup.
type Event struct {
	Key  string    `json:"key"`
	Time time.Time `json:"time"` // LastVerified: when the backup had been finished, not when it was verified
	// Message is why, for a failure.
	Message string `json:"message,omitempty"`
}

// Any reports whether anything is known of backups.
func (s Status) Any() bool { return s.LastVerified != nil || s.Last != nil || s.LastFailure != nil }

// Merge adds news to what is known: the newest of each kind stays, unless it is void now. A
// failure stays a failure, whatever became of its backup.
func (s Status) Merge(news Status) Status {
	for _, e := range []**Event{&s.LastVerified, &s.Last} {
		if *e != nil && slices.Contains(news.Void, (*e).Key) {
			*e = nil
		}
	}
	return Status{LastVerified: newer(s.LastVerified, news.LastVerified), Last: newer(s.Last, news.Last), LastFailure: newer(s.LastFailure, news.LastFailure)}
}

func newer(a, b *Event) *Event {
	if a == nil || b != nil && b.Time.After(a.Time) {
		return b
	}
	return a
}

// Voided is the news that backups were deleted or found damaged: what is newest among the others
// of the list takes their place.
func Voided(list []Summary, keys ...string) Status {
	news := Status{Void: keys}
	others := slices.DeleteFunc(slices.Clone(list), func(s Summary) bool { return slices.Contains(keys, s.Key) })
	if s, ok := NewestVerified(others, time.Time{}); ok {
		news.LastVerified = &Event{Key: s.Key, Time: s.Finished}
	}
	return news
}

// Outdated are the keys of which the status says what a list of the repository does not: that there is
// such a backup, or that it is verified.
func (s Status) Outdated(list []Summary) []string {
	there := func(e *Event, good func(Summary) bool) bool {
		return slices.ContainsFunc(list, func(s Summary) bool { return s.Key == e.Key && s.Complete && good(s) })
	}
	var keys []string
	if e := s.LastVerified; e != nil && !there(e, func(s Summary) bool { return s.Verified != nil }) {
		keys = append(keys, e.Key)
	}
	if e := s.Last; e != nil && !slices.Contains(keys, e.Key) && !there(e, func(Summary) bool { return true }) {
		keys = append(keys, e.Key)
	}
	return keys
}

// NewestVerified is the last verified backup of a list that had been finished by a moment; the
// zero time is no limit.
func NewestVerified(list []Summary, by time.Time) (Summary, bool) {
	var best Summary
	for _, s := range list {
		if s.Complete && s.Verified != nil && (by.IsZero() || !s.Finished.After(by)) && s.Finished.After(best.Finished) {
			best = s
		}
	}
	return best, best.Key != ""
}
