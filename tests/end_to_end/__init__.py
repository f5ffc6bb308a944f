"""End-to-end tests with real processes: a save in Stash, hook, queue, worker, Plex over HTTP."""
