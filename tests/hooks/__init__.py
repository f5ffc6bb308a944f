"""Tests of the hook's code, run in the test process."""
