"""What a maintainer needs to publish PlexSync; never part of the package. Imports nothing of ours."""
