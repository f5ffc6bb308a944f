"""Everything that speaks to Stash: plugin input and log protocol (hook and worker), GraphQL (worker).

Imports `common` only. `client` needs requests and is for the worker; the rest is loaded by the hook.
"""
