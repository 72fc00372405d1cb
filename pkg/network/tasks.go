package network

// CreateTask is the workflow task by which an orderer organisation joins its orderers to a
// channel. Most networks have one such organisation, and their tasks do not name it.
func (c *Channel) CreateTask(o *Org) string {
	if len(c.OrdererOrgs) <= 1 {
		return TaskName("create", c.Name)
	}
	return TaskName("create", c.Name, o.Name)
}

// JoinTask is the workflow task that joins an organisation's peers to a channel.
func (c *Channel) JoinTask(o *Org) string { return TaskName("join", c.Name, o.Name) }

// InstallTask is the workflow task by which an organisation installs and approves.
func (c *Chaincode) InstallTask(o *Org) string { return TaskName("install", c.Name, o.Name) }

// CommitTask is the workflow task that commits a chaincode's definitions.
func (c *Chaincode) CommitTask() string { return TaskName("commit", c.Name) }

// SmokeTask is the workflow task that calls a chaincode once it is committed.
func (c *Chaincode) SmokeTask() string { return TaskName("smoke", c.Name) }
