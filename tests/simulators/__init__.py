"""Stand-ins for Stash and Plex: real HTTP servers that a test starts inside its own process."""
