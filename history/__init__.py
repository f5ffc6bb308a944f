"""The history: what PlexSync knows of each scene and its item. Imports `common`."""
