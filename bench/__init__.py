"""Benchmarks: voxrec compared with other programs in the same session."""
