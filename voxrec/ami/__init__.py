"""Client of the Asterisk Manager Interface (AMI), for what ARI cannot do: MixMonitor."""
