"""What the page in Stash shows: read-only views of the data directory.

Imports `common`, `history.counts`, `queue` (without persist-queue) and `worker.process`, and only
cheap modules of the standard library: the page asks every few seconds, each time in a process of
its own. A view writes nothing, repairs nothing and starts nothing.
"""
