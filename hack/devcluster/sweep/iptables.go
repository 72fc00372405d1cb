package sweep

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// chainPrefixes begin the names of the chains kube-proxy, the kubelet, kube-router and the CNI plugins make.
var chainPrefixes = []string{"KUBE-", "CNI-"}

// table is one table in the output of iptables-save.
type table struct {
	name   string
	chains []string
	rules  []string
}

func parseSave(save string) []table {
	var tables []table
	for line := range strings.Lines(save) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			tables = append(tables, table{name: line[1:]})
		case len(tables) == 0:
		case strings.HasPrefix(line, ":"):
			t := &tables[len(tables)-1]
			name, _, _ := strings.Cut(line[1:], " ")
			t.chains = append(t.chains, name)
		case strings.HasPrefix(line, "-A "):
			t := &tables[len(tables)-1]
			t.rules = append(t.rules, line)
		}
	}
	return tables
}

// clusterChains lists the chains of a cluster as table/chain.
func clusterChains(save string) []string {
	var names []string
	for _, t := range parseSave(save) {
		for _, c := range t.chains {
			if hasPrefix(c, chainPrefixes) {
				names = append(names, t.name+"/"+c)
			}
		}
	}
	return names
}

// removal returns the input for `iptables-restore --noflush` that removes the cluster's chains, except those in keep,
// and every rule elsewhere that belongs to them. Empty when there is nothing to remove.
func removal(save string, keep []string) string {
	var out strings.Builder
	for _, t := range parseSave(save) {
		mine := func(chain string) bool {
			return hasPrefix(chain, chainPrefixes) && !slices.Contains(keep, t.name+"/"+chain)
		}
		var del, flush, drop []string
		for _, rule := range t.rules {
			f := strings.Fields(rule)
			if !mine(f[1]) && (mine(target(f)) || strings.Contains(rule, kubeRouterComment)) {
				del = append(del, "-D "+strings.TrimPrefix(rule, "-A "))
			}
		}
		for _, c := range t.chains {
			if mine(c) {
				flush = append(flush, ":"+c+" - [0:0]")
				drop = append(drop, "-X "+c)
			}
		}
		if len(del)+len(drop) == 0 {
			continue
		}
		// Naming a chain empties it; that must come first, since a chain can only be dropped when nothing jumps to it.
		fmt.Fprintf(&out, "*%s\n", t.name)
		for _, l := range slices.Concat(flush, del, drop) {
			out.WriteString(l + "\n")
		}
		out.WriteString("COMMIT\n")
	}
	return out.String()
}

// kubeRouterComment marks the rules kube-router puts straight into built-in chains, which lead to none of its own.
const kubeRouterComment = `--comment "KUBE-ROUTER rule `

// target returns what a rule jumps or goes to.
func target(fields []string) string {
	for i, f := range fields {
		if (f == "-j" || f == "-g") && i+1 < len(fields) {
			return fields[i+1]
		}
	}
	return ""
}

func hasPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// families are the two packet filters; the second is missing on machines without IPv6.
var families = []string{"iptables", "ip6tables"}

func save(family string) (string, error) {
	out, err := exec.Command(family + "-save").Output()
	if err != nil {
		return "", fmt.Errorf("running %s-save: %w", family, err)
	}
	return string(out), nil
}

// PacketFilter removes the cluster's chains and rules, except the chains that were there before.
func PacketFilter(before Baseline) error {
	for _, family := range families {
		if _, err := exec.LookPath(family + "-save"); err != nil {
			continue
		}
		rules, err := save(family)
		if err != nil {
			return err
		}
		script := removal(rules, before.Chains[family])
		if script == "" {
			continue
		}
		cmd := exec.Command(family+"-restore", "--noflush", "-w", "10")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("removing %s rules: %w: %s", family, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// setPrefixes begin the names of kube-router's address sets.
var setPrefixes = []string{"KUBE-", "kube-router-", "inet6:KUBE-", "inet6:kube-router-"}

func clusterSets(names string) []string {
	var sets []string
	for name := range strings.Lines(names) {
		if name = strings.TrimSpace(name); hasPrefix(name, setPrefixes) {
			sets = append(sets, name)
		}
	}
	return sets
}

// AddressSets removes the cluster's ipsets; the rules that use them must be gone.
func AddressSets(before Baseline) error {
	if _, err := exec.LookPath("ipset"); err != nil {
		return nil
	}
	names, err := exec.Command("ipset", "list", "-n").Output()
	if err != nil {
		return fmt.Errorf("listing ipsets: %w", err)
	}
	for _, name := range clusterSets(string(names)) {
		if slices.Contains(before.Sets, name) {
			continue
		}
		if out, err := exec.Command("ipset", "destroy", name).CombinedOutput(); err != nil {
			return fmt.Errorf("removing ipset %s: %w: %s", name, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}
