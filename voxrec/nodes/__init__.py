"""Several nodes as one system: heartbeats, the calls of all nodes, and commands to other nodes."""
