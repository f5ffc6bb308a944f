"""Tests of the package and of the installation of what it needs, without a network."""
