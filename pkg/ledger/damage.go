package ledger

import (
	"errors"
	"fmt"
	"strings"
)

// ErrDamaged is the kind of every Damage.
var ErrDamaged = errors.New("damaged ledger")

// Damage says where a chain of blocks is broken.
type Damage struct {
	Channel string
	File    string // name of the block file
	Offset  int64  // where in it the block begins
	Block   uint64 // number of the block that should be there
	InBlock bool   // false if the file as a whole is meant
	Reason  string
}

func (d *Damage) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "channel %q: %s: ", d.Channel, d.File)
	if d.InBlock {
		fmt.Fprintf(&b, "block %d at offset %d: ", d.Block, d.Offset)
	}
	b.WriteString(d.Reason)
	return b.String()
}

// Is makes a Damage of the kind ErrDamaged.
func (d *Damage) Is(target error) bool { return target == ErrDamaged }
