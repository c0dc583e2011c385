"""What voxrec plays to the parties of a call: announcements, beeps and confirmations."""
