"""Tests of the Plex package: the real plexapi talks HTTP to the Plex simulator."""
