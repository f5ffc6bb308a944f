"""Everything that speaks to Plex. The only room that knows plexapi; its exceptions never leave.

Imports `common` (handed-in SQLite connections) and `validation.errors`.
"""
