"""Tests of the durable queue: on real SQLite files, with real persist-queue and real processes."""
