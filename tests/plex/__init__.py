"""Tests of everything that speaks to Plex: with the real plexapi, over HTTP, against the simulator."""
