"""The whole chain with real processes: a save in Stash, a hook, the queue, the worker, Plex over HTTP."""
