"""Tests of the page's read-only views."""
