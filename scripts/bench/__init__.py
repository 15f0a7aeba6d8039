"""Benchmarks: each starts a private stack, fills it, measures in one run, and prints JSON on its last line."""
