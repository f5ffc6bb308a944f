"""Fixtures for processes that tests start themselves."""

from tests.entry.conftest import data_dir

__all__ = ["data_dir"]
