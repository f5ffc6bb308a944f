"""What is right: settings, a scene's metadata, text for Plex, the classes of errors.

Imports `common` only. `config` and `metadata` need pydantic and are never loaded by the hook.
"""
