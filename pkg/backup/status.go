package backup

import "time"

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
}

// Event is something that happened to a backup.
type Event struct {
	Key  string    `json:"key"`
	Time time.Time `json:"time"` // LastVerified: when the backup had been finished, not when it was verified
	// Message is why, for a failure.
	Message string `json:"message,omitempty"`
}

// Merge adds news to what is known: the newest of each kind stays.
func (s Status) Merge(news Status) Status {
	return Status{LastVerified: newer(s.LastVerified, news.LastVerified), Last: newer(s.Last, news.Last), LastFailure: newer(s.LastFailure, news.LastFailure)}
}

func newer(a, b *Event) *Event {
	if a == nil || b != nil && b.Time.After(a.Time) {
		return b
	}
	return a
}
