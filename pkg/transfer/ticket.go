package transfer

import "io"

// Ticket is all that a pod needs to call back. In a pod it is JSON, in a file of a Secret.
type Ticket struct {
	URL   string `json:"url"`
	Pin   string `json:"pin"` // hexadecimal SHA-256 of the server's certificate
	Token string `json:"token"`
}

// Limits bound what is unpacked.
type Limits struct {
	Bytes   int64 // of all files together
	Entries int
}

// DefaultLimits hold the largest trees of node_modules that we know of.
func DefaultLimits() Limits { return Limits{Bytes: 2 << 30, Entries: 200_000} }

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.Bytes <= 0 {
		l.Bytes = d.Bytes
	}
	if l.Entries <= 0 {
		l.Entries = d.Entries
	}
	return l
}

// Options say where to listen.
type Options struct {
	// Host is the address that others reach this process by, and listens on.
	Host string
	// FirstPort and LastPort are the range to take a free port from; zero means any.
	FirstPort, LastPort int
	// Rand makes tokens and picks ports; nil means crypto/rand.
	Rand io.Reader
	// Report gets one sentence per transfer, also of those that broke off and may be repeated.
	Report func(string)
}

// RefusedError says why a tree is not taken. Sending it again would not help.
type RefusedError struct{ Text string }

func (e *RefusedError) Error() string { return e.Text }
