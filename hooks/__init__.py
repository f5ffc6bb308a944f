"""What runs inside a hook: read the event, filter it, put it into the queue. Milliseconds, no network.

Imports `queue`, the light half of `stash` and `worker.process`; of the standard library only what is cheap: a
save in Stash waits for this.
"""
