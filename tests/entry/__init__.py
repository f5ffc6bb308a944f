"""Tests of PlexSync.py as Stash runs it: a process that reads and writes one JSON document."""
