"""The fixtures of processes that are run by hand."""

from tests.entry.conftest import data_dir

__all__ = ["data_dir"]
