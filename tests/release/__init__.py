"""Tests of the package and of the installation of its dependencies, without a network."""
