"""Tests of what speaks to Stash: the GraphQL client and the light modules that a hook loads."""
