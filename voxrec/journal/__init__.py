"""The write-ahead journal: snapshots of Recordings on the local disk until PostgreSQL has stored them."""
