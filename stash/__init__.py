"""Communication with Stash: plugin input, log protocol, connection, settings and GraphQL.

Imports `common` and `validation.errors`. The hook loads `connection`, `deferred_log`, `log`,
`plugin_input` and `settings`. `client` needs requests; it is for the worker and the tasks.
"""
