"""Changes of the parties of a call: transfers, replaced channels, and redirections."""
