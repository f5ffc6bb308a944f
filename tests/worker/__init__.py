"""Tests of the worker: alone with a fake clock, against both simulators, and as a real process."""
