"""Verdicts on a write, by what is read after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from history.fields import FieldState, Value
from worker.reconcile.read_back import Verdict, judge

TAKEN, NORMALIZED = Verdict.TAKEN, Verdict.NORMALIZED
READ, WRITE, REFUSED = Verdict.READ_AGAIN, Verdict.WRITE_AGAIN, Verdict.REFUSED
CHANGED = Verdict.CHANGED

TEXT = FieldState(before="old", wanted="new", observed="old", sent="new", replaced="old")
LIST = FieldState(
    before=(), ours=("X", "K"), wanted=("K", "N"), observed=("X", "K", "User"),
    sent=("K", "N", "User"), replaced=("X", "K", "User"), claim=("K", "N"),
)  # fmt: skip

# (field, locked, the values of one read after another, the verdicts)
TABLE: list[tuple[FieldState, bool, list[Value], list[Verdict]]] = [
    (TEXT, True, ["new"], [TAKEN]),
    (TEXT, False, ["new"], [TAKEN]),
    # the value before: written once more, then refused
    (TEXT, True, ["old", "old"], [WRITE, REFUSED]),
    (TEXT, False, ["old", "old"], [WRITE, REFUSED]),
    (TEXT, True, ["old", "new"], [WRITE, TAKEN]),
    # something else in a locked field: read once more
    (TEXT, True, ["New.", "New."], [READ, NORMALIZED]),
    (TEXT, True, ["New.", "new"], [READ, TAKEN]),
    (TEXT, True, ["", ""], [READ, CHANGED]),
    (TEXT, True, ["A person's", "A person's"], [READ, CHANGED]),
    # … also where a write that was repeated had found it already
    (replace(TEXT, observed="New."), True, ["New.", "New."], [READ, NORMALIZED]),
    # in an open field a refresh may be why: written once more
    (TEXT, False, ["New.", "New."], [WRITE, NORMALIZED]),
    (TEXT, False, ["agent", "new"], [WRITE, TAKEN]),
    (TEXT, False, ["agent", "agent"], [WRITE, CHANGED]),
    # another value at every read
    (TEXT, True, ["a", "b", "c", "d"], [READ, READ, READ, REFUSED]),
    (TEXT, False, ["a", "b", "c", "d"], [WRITE, READ, READ, REFUSED]),
    (TEXT, True, ["a", "b", "b"], [READ, READ, CHANGED]),
    (TEXT, True, ["a", "old"], [READ, REFUSED]),
    # lists, in any order and ASCII case
    (LIST, True, [("user", "n", "K")], [TAKEN]),
    (LIST, True, [("X", "K", "User")] * 2, [WRITE, REFUSED]),
    (LIST, True, [("User", "x", "k")] * 2, [WRITE, REFUSED]),
    (LIST, True, [("K", "N.", "User")] * 2, [READ, NORMALIZED]),
    (LIST, False, [("K", "N.", "User")] * 2, [WRITE, NORMALIZED]),
    (LIST, True, [("K", "é", "User"), ("K", "É", "User")], [READ, READ]),
    # a person's change in the meantime is none of the write
    (LIST, True, [("K", "N", "User", "Added")], [TAKEN]),
    (LIST, True, [("K", "N")], [TAKEN]),
    (LIST, True, [("N", "User")], [TAKEN]),
    # … also in place of one of ours
    (LIST, True, [("K", "User", "Added")] * 2, [READ, CHANGED]),
    # the added name is there, but the removed one is as well
    (LIST, True, [("X", "K", "N", "User")] * 2, [READ, NORMALIZED]),
]  # fmt: skip


@pytest.mark.parametrize(("state", "locked", "reads", "expected"), TABLE)
def test_verdicts(
    state: FieldState, locked: bool, reads: list[Value], expected: list[Verdict]
) -> None:
    verdicts = []
    for current in reads:
        state, verdict = judge(state, current, is_locked=locked)
        assert state.observed == current
        verdicts.append(verdict)
    assert verdicts == expected


def test_what_was_taken_is_ours() -> None:
    text, _ = judge(TEXT, "new", is_locked=True)
    assert text == FieldState(before="old", ours="new", wanted="new", observed="new")
    names, _ = judge(LIST, ("n", "K", "User", "Added"), is_locked=True)
    assert names.ours == ("K", "N")
    assert (names.sent, names.replaced, names.claim, names.misses) == (None, None, None, 0)


def test_what_was_refused_is_not_ours() -> None:
    for start, there in ((TEXT, "old"), (LIST, ("X", "K", "User"))):
        state, _ = judge(replace(start, misses=1), there, is_locked=True)
        assert state.refused
        assert (state.ours, state.wanted, state.observed) == (start.ours, start.wanted, there)
        assert (state.sent, state.replaced, state.claim, state.form) == (None,) * 4


def test_plexs_own_form_is_ours() -> None:
    state, _ = judge(replace(TEXT, misses=1, observed="New."), "New.", is_locked=True)
    assert (state.form, state.ours, state.misses) == ("New.", "New.", 0)
    assert (state.sent, state.replaced, state.claim, state.refused) == (None, None, None, False)
    seen = ("K", "N.", "User")
    state, _ = judge(replace(LIST, misses=1, observed=seen), seen, is_locked=True)
    assert state.form == seen
    assert sorted(state.ours or ()) == ["K", "N."]  # the user's name stays the user's


def test_a_first_form_of_a_list_is_ours() -> None:
    first = FieldState(
        before=("Old",), wanted=("Sci-Fi",), observed=("Sci Fi",), sent=("Sci-Fi",),
        replaced=("Old",), claim=("Sci-Fi",), misses=1,
    )  # fmt: skip
    state, verdict = judge(first, ("Sci Fi",), is_locked=True)
    assert (verdict, state.ours) == (NORMALIZED, ("Sci Fi",))


@pytest.mark.parametrize("is_locked", [True, False])
def test_another_value_is_not_ours(is_locked: bool) -> None:
    before = replace(TEXT, misses=1, observed="A person's")
    state, _ = judge(before, "A person's", is_locked=is_locked)
    assert (state.ours, state.form, state.sent) == ("new", None, None)
    assert state.kept is is_locked, "else a refresh wrote it, and it is repaired"
    seen = ("K", "User", "Added")
    state, _ = judge(replace(LIST, misses=1, observed=seen), seen, is_locked=is_locked)
    assert (state.ours, state.form, state.sent) == (("K",), None, None)


def test_after_an_undo_another_value_is_not_ours_either() -> None:
    held = replace(TEXT, held=True, claim="", misses=1, observed="A person's")
    state, verdict = judge(held, "A person's", is_locked=True)
    assert (verdict, state.ours, state.kept) == (CHANGED, "", False)


def test_a_removal_that_is_not_carried_out_stays_ours() -> None:
    seen = ("X", "K", "N", "User")
    state, _ = judge(replace(LIST, misses=1, observed=seen), seen, is_locked=True)
    assert {"X", "K", "N"} == set(state.ours or ())
