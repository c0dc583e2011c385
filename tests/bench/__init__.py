"""Tests of the parts that the benchmarks share."""
