package backup

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
