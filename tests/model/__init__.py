"""A model of README's rules, and random lives that compare PlexSync with it.

`world.py` holds what exists, `steps.py` what happens, `oracle.py` and the modules of rules what
must follow, `life.py` runs a life and shrinks one that fails. None of them uses PlexSync's rules.
"""
