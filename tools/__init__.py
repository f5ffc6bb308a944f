"""Tools for maintainers, run by hand from the repository's root; not part of the package."""
