"""The list of mutations follows the code: each one still names a place of it."""

from __future__ import annotations

import pytest

from tools.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.promise)
def test_a_mutation_can_be_applied(mutation: Mutation) -> None:
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    assert mutation.old != mutation.new
    assert all((ROOT / path.partition("::")[0]).exists() for path in mutation.tests)
