"""The worker: claims jobs from the queue and syncs their scenes; one process per data directory.

Imports `common`, `history`, `plex`, `queue`, `stash` and `validation`. The hook loads `process`
(the lock and the start of the worker's process), so that module imports only a few cheap standard
modules.
"""
