"""The fault campaign: many edits, faults and killed processes must lose nothing.

`python -m tests.soak --rounds 10 --seed 1` runs it by hand, `test_soak.py` runs a small one, and
`test_kill_points.py` kills the worker and the hook once at every named point.
"""
