"""Tasks of Stash and commands of the shell. May import every package of PlexSync."""
