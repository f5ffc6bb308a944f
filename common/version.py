"""The version of PlexSync; the manifest says the same. Loaded by the hook."""

VERSION = "0.2.0"
