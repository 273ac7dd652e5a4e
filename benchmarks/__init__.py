"""Benchmarks: run from the root of the repository, never part of the wheel."""
