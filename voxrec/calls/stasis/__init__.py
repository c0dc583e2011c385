"""The Stasis application: the process that has it, its session and events, and reconciliation after a connect."""
