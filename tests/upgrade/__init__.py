"""Upgrade from version 0.1: a data directory as that version left it, and tests on it."""
