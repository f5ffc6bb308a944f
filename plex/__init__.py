"""Everything that speaks to Plex: client, index of files, matching and edits.

Imports `common`, `history` and `validation`. The only package that uses plexapi: its exceptions and
objects stay inside, but for the names that others rely on (`matcher.find_plex_item_by_path`,
`items.read_item`).
"""

import os

# Before plexapi is imported: the user's own configuration of plexapi, in a file or in environment
# variables, must not apply here. With its `show_secrets` the token would be logged.
for _name in [name for name in os.environ if name.upper().startswith("PLEXAPI_")]:
    del os.environ[_name]
os.environ["PLEXAPI_CONFIG_PATH"] = os.devnull
