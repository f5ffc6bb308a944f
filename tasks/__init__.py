"""Tasks of Stash and commands of the shell. Imports every other package of PlexSync."""
