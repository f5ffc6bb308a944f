"""Folder for PYTHONPATH whose `sitecustomize` kills the process at a named point."""
