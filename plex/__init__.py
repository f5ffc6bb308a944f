"""Everything that speaks to Plex: client, index of files, matching, edits and their history.

Imports `common` and `validation`. The only package that uses plexapi: its exceptions and objects
stay inside, but for the names that others rely on (`matcher.find_plex_item_by_path`,
`items.read_item`).
"""
