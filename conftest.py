"""Lets pytest, which has imported the standard `queue` long before, find our modules below that name."""

import PlexSync

PlexSync.host_queue_package()
