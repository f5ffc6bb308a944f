"""The worker: takes jobs from the queue and syncs their scenes; one process per data directory.

Imports every room but `tasks`. Its module `process` (the lock, the start of the process) is also loaded by the
hook, so that one imports next to nothing.
"""
