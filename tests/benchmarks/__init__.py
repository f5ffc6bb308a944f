"""How fast PlexSync is, measured as ratios side by side in one run. Run by `make bench`."""
