"""The life of a Recording after its call: finishing, erasing, orphaned files and retention."""
