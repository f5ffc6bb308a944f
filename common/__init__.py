"""Private files, locks, SQLite, time and randomness, redaction.

Imports no other package of ours. The hook loads `data_dir`, `files`, `hook_times`, `locks` and
`sqlite`, so these import only a few cheap standard modules.
"""
