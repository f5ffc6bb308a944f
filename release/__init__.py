"""Build the package of a release. Imports nothing of PlexSync; not part of the package."""
