"""The folder that is put on a process's PYTHONPATH so that it can be told to kill itself at a named point."""
