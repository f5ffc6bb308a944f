"""The fault campaign: many edits, many faults, many killed processes, and in the end nothing lost and nothing wrong.

`python -m tests.soak --rounds 10 --seed 1` runs it by hand; `test_soak.py` a small one; `test_kill_points.py` kills
the worker and the hook once at every named point.
"""
