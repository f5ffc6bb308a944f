"""Tests of PlexSync.py as Stash runs it: a process, one JSON document in, one out."""
