"""Benchmarks: voxrec against something else, in the same run."""
