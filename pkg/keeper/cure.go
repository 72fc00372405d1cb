package keeper

import (
	"fmt"
	"strings"
)

// Cures says to a person what to do about nodes that are held, each thing once.
func Cures(held []Hold) string {
	var all []string
	seen := map[string]bool{}
	for _, h := range held {
		if cure := h.Cure(); !seen[cure] {
			seen[cure] = true
			all = append(all, cure)
		}
	}
	return strings.Join(all, "; ")
}

// Cure says how the node comes to be let go.
func (h Hold) Cure() string {
	switch h.By {
	case ByRestore:
		if h.Stage == Finishing {
			return fmt.Sprintf(`repeat "pivt restore %s%s", which removes what was there before and lets its nodes go`, h.Key, h.Asked)
		}
		return fmt.Sprintf(`repeat the same "pivt restore %s%s" command to go on, or "pivt restore %s --cancel" puts back what was there`, h.Key, h.Asked, h.Key)
	case ByBackup:
		return fmt.Sprintf(`wait until backup %s is over ("pivt status" shows it); if its workflow is gone, its nodes are started within a minute`, h.Key)
	}
	return fmt.Sprintf("nobody can tell who holds %s; if nothing is under way: kubectl annotate statefulset %s %s- && kubectl scale statefulset %s --replicas=1", h.Node, h.Node, HeldAnnotation, h.Node)
}
