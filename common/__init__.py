"""The ground floor: private files, SQLite connections, secrets. Imports no other room.

Everything here but `redaction` and `http` is loaded by the hook, so: a few cheap standard modules only.
"""
