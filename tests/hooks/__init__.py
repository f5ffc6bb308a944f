"""Tests of what runs inside a hook, called in this process."""
