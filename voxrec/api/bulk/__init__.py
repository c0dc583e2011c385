"""Many Recordings at once: bulk actions and exports."""
