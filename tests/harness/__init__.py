"""The one test harness: both simulators, PlexSync between them, and what came of it.

Tests, demo and benchmarks build on it. What only one of them needs is in a subclass beside them.
"""
