"""Tests of what is right: settings, metadata, text for Plex, the classes of errors."""
