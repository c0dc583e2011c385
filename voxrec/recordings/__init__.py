"""A Recording after its call: finishing, erasing, orphaned files and retention."""
