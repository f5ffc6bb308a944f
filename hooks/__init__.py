"""Code of a hook process: read the event, filter it, put a job into the queue, start the worker.

Imports `common`, `queue`, `stash` (without its client) and `worker.process`, and only cheap modules
of the standard library. No network: a save in Stash waits for the hook.
"""
