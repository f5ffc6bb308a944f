"""The test harness: both simulators, PlexSync between them, and the results.

Tests, demo and benchmarks build on it. Subclasses beside them add what only one of them needs.
"""
