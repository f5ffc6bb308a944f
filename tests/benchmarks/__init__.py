"""Benchmarks: ratios of costs measured side by side in one run. Run by `make bench`."""
