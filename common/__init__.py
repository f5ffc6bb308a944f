"""Private files, SQLite connections, HTTP requests and redaction. Imports no other package of ours.

The hook loads `data_dir`, `files` and `sqlite`, so these import only a few cheap standard modules.
`redaction` and `http` are for the worker and the tasks.
"""
