"""Validation of settings, metadata, text and errors.

Imports `common`, and pydantic in `config` and `metadata`. The hook loads none of it.
"""
