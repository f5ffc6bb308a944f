"""Compare Stash with the history and Plex, again and again. Events only make it sooner."""
