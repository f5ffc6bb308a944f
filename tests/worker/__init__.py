"""Tests of the worker: with a fake clock, against both simulators, and as a real process."""
