"""Random lives of one item: edits in Stash and in Plex, refreshes, syncs, lost answers.

The oracle knows nothing of the history. It keeps its own books of who set what, and holds the plans
to the rules that README promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from history.fields import FieldState
from plex.desired import Switches
from plex.plan import Intent
from tests.harness.size import examples
from tests.plex.support import plan

TEXT, LIST = "summary", "genre"
AGENT_TEXT, AGENT_TAGS = "agent's", ("Agent",)

NAMES = ("A", "B", "C", "U", "V")
#: The request arrives and is answered, arrives without an answer, or does not arrive.
FATES = ("taken", "taken", "lost", "missed")
STEPS = st.one_of(
    st.tuples(st.just("stash_text"), st.sampled_from(["", "s1", "s2", "s3"])),
    st.tuples(st.just("stash_tags"), st.sets(st.sampled_from(NAMES), max_size=3)),
    st.tuples(st.just("person_text"), st.booleans()),
    st.tuples(st.just("person_adds"), st.sampled_from(NAMES)),
    st.tuples(st.just("person_removes"), st.sampled_from(NAMES)),
    st.tuples(st.just("refresh")),
    st.tuples(st.just("added_again")),
    st.tuples(st.just("wait"), st.sampled_from([60.0, 90_000.0, 700_000.0])),
    st.tuples(st.just("sync"), st.booleans(), st.sampled_from(FATES)),
)


@dataclass
class Life:
    """One item, its scene, and who set what."""

    switches: Switches
    stash_text: str = "s1"
    stash_tags: tuple[str, ...] = ()
    text: str = AGENT_TEXT
    tags: tuple[str, ...] = AGENT_TAGS
    locked: frozenset[str] = frozenset()
    known: dict[str, FieldState] = field(default_factory=dict)
    now: float = 1_700_000_000.0
    texts_typed: int = 0

    # --- the oracle's books
    text_is_from: str = "agent"
    #: the text stays while Stash says this; None: no promise
    kept_while: str | None = None
    #: a text that a person locked before the first sync
    is_early: bool = False
    last_text: str | None = None
    last_tags: frozenset[str] | None = None
    #: Stash's tags changed since the last sync that was answered
    tags_are_new: bool = True
    #: names that we put there, and names that may count as ours
    put: set[str] = field(default_factory=set)
    maybe_ours: set[str] = field(default_factory=set)
    #: names that a person added, and we did not
    theirs: set[str] = field(default_factory=set)
    #: names that a person took out since Stash's tags changed
    taken_out: set[str] = field(default_factory=set)
    #: something since then explains why names of Stash are missing
    is_unsure: bool = False
    #: the list lost our names, and no sync has seen it since
    was_reset: bool = False

    # --- what happens

    def do_stash_text(self, value: str) -> None:
        self.stash_text = value

    def do_stash_tags(self, names: set[str]) -> None:
        self.stash_tags = tuple(sorted(names))

    def do_person_text(self, empties: bool) -> None:
        self.texts_typed += 1
        self.text = "" if empties else f"typed {self.texts_typed}"
        self.locked |= {TEXT}
        self.text_is_from = "person"
        # "" again may be what a lost write had found: then nobody can tell
        is_fresh = not empties or self.texts_typed == 1
        self.kept_while = self.last_text if is_fresh else None
        self.is_early = self.last_text is None and is_fresh

    def do_person_adds(self, name: str) -> None:
        self._lock_list()
        if name not in self.tags:
            self.tags += (name,)
            if name in self.maybe_ours:  # as a lost write would have done: nobody can tell
                self.is_unsure = True
            else:
                self.theirs.add(name)

    def do_person_removes(self, name: str) -> None:
        self._lock_list()
        self.taken_out.add(name)
        self._drop(name)

    def do_refresh(self) -> None:
        if TEXT not in self.locked:
            self.text, self.text_is_from = AGENT_TEXT, "agent"
        if LIST not in self.locked:
            for name in self.tags:
                self._drop(name)
            self.tags = AGENT_TAGS
            self.was_reset = True
            self.is_unsure |= not self.switches.repair

    def do_added_again(self) -> None:
        self.locked = frozenset()
        self.kept_while, self.is_early = None, False
        self.do_refresh()

    def do_wait(self, seconds: float) -> None:
        self.now += seconds

    def do_sync(self, saved: bool, fate: str) -> None:
        has_text, has_tags = self.text, self.tags
        if self.last_tags != frozenset(self.stash_tags):
            self.tags_are_new, self.taken_out, self.is_unsure = True, set(), False
        self.was_reset = False
        changes = self._plan(saved)
        text = changes.get(TEXT, self.text)
        tags = changes.get(LIST, self.tags)
        assert isinstance(text, str)
        assert isinstance(tags, tuple)
        self._check_text(text, saved)
        self._check_tags(tags)
        fate = fate if changes else "taken"  # nothing was sent, so nothing got lost
        added, removed = set(tags) - set(has_tags), set(has_tags) - set(tags)
        self.maybe_ours |= added
        if self.last_tags is None or not self.put:  # names on both sides, at the first meeting
            self.maybe_ours |= set(self.stash_tags) & set(has_tags) - self.theirs
        if fate != "missed":
            self.text, self.tags = text, tags
            self.locked |= set(changes) if self.switches.lock else set()
            self.put = (self.put | added) - removed
            if text != has_text:
                self.text_is_from = "us"
        text_was, self.last_text = self.last_text, self.stash_text
        self.last_tags = frozenset(self.stash_tags)
        if fate == "taken" or LIST not in changes:
            self._check_tags_arrived()
            self.tags_are_new = False
        if fate == "taken":
            assert not self._plan(saved), "a second sync writes again"
            self._check_text_arrived(text_was)
            self.maybe_ours &= {*self.tags, *self.stash_tags}

    # --- rules

    def _check_text(self, text: str, saved: bool) -> None:
        if self.text_is_from == "person" and text != self.text:
            assert not (self.is_early and not saved and self.text), "a locked text, in bulk work"
            assert self.kept_while is None or self.kept_while != self.stash_text, "a person's text"
        if not text and self.text:
            assert self.text_is_from == "us", "only a text of ours is emptied"
        if self.switches.preserve and self.text and text != self.text:
            assert self.text_is_from == "us", "preserve"
        if self.is_early:
            self.kept_while = None if saved or not self.text else self.stash_text
            self.is_early = False
        elif self.kept_while != self.stash_text:
            self.kept_while = None

    def _check_tags(self, tags: tuple[str, ...]) -> None:
        assert self.theirs <= set(tags), "a name that a person added"
        if self.switches.preserve and self.tags and not self.maybe_ours & set(self.tags):
            assert tags == self.tags, "preserve"
        if not self.tags_are_new and self.last_tags == frozenset(self.stash_tags):
            assert set(self.tags) <= set(tags), "nothing but Stash takes names out"

    def _check_text_arrived(self, text_was: str | None) -> None:
        if self.switches.preserve or text_was in (None, self.stash_text):
            return
        assert self.text == self.stash_text or not self.stash_text, "a change in Stash arrives"

    def _check_tags_arrived(self) -> None:
        if self.switches.preserve or self.is_unsure or not self.tags_are_new:
            return
        assert set(self.stash_tags) <= {*self.tags, *self.taken_out}, "all names arrive"
        assert not (self.put - set(self.stash_tags)) & set(self.tags), "names of ours go"

    def _plan(self, saved: bool) -> dict[str, Any]:
        edits = plan(
            {"details": self.stash_text, "tags": list(self.stash_tags)},
            {"summary": self.text, "genres": self.tags, "locked": self.locked},
            self.known,
            self.switches,
            intent=Intent(saved=saved),
            now=self.now,
        )
        self.known = dict(edits.fields)
        return {name: target for name, (_, target) in edits.changes.items()}

    def _lock_list(self) -> None:
        self.locked |= {LIST}
        self.is_unsure |= self.was_reset  # what is missing looks as if the person took it out

    def _drop(self, name: str) -> None:
        self.tags = tuple(one for one in self.tags if one != name)
        self.put.discard(name)
        self.theirs.discard(name)


@settings(max_examples=examples(400), suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(Switches, lock=st.booleans(), preserve=st.booleans(), repair=st.booleans()),
    st.lists(STEPS, min_size=4, max_size=40),
)
def test_a_random_life_keeps_every_promise(
    switches: Switches, steps: list[tuple[Any, ...]]
) -> None:
    life = Life(switches)
    for name, *values in steps:
        getattr(life, f"do_{name}")(*values)
