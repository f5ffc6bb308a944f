"""Tests of PlexSync's page in a real browser, on the host page of the Stash simulator."""
