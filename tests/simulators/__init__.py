"""Simulators of Stash and Plex: real HTTP servers inside the test's process."""
