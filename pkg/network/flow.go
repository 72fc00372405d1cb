package network

// flow reads which channels and chaincodes the flows are narrowed to.
func (l *loader) flow() {
	l.net.FlowChannels, l.net.FlowChaincodes = l.net.Channels, l.net.Chaincodes
	flow := l.object(l.root, "flow")

	var known []string
	for _, ch := range l.net.Channels {
		known = append(known, ch.Name)
	}
	if only := l.include(flow, "channel", known); only != nil {
		l.net.FlowChannels = nil
		for _, ch := range l.net.Channels {
			if only[ch.Name] {
				l.net.FlowChannels = append(l.net.FlowChannels, ch)
			}
		}
	}

	known = nil
	for _, cc := range l.net.Chaincodes {
		known = append(known, cc.Name)
	}
	if only := l.include(flow, "chaincode", known); only != nil {
		l.net.FlowChaincodes = nil
		for _, cc := range l.net.Chaincodes {
			if only[cc.Name] {
				l.net.FlowChaincodes = append(l.net.FlowChaincodes, cc)
			}
		}
	}
}

// include reads one list of names; nil means all.
func (l *loader) include(flow *node, what string, known []string) map[string]bool {
	items := l.names(l.object(flow, what), "include")
	if len(items) == 0 {
		return nil
	}
	only := map[string]bool{}
	for _, item := range items {
		if !contains(known, item.text) {
			l.errorf(item, "flow.%s.include: %s %s is not in %s%s", what, what, show(item.text), l.networkFile, hint(item.text, known, what+"s"))
		}
		only[item.text] = true
	}
	return only
}
