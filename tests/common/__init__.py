"""Tests of the ground floor: private files, SQLite connections, secrets."""
