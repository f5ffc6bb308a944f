"""Tests of `common`: private files, SQLite connections, redaction."""
