"""A person's changes in Plex's web app: they lock what they set and are not recorded."""

from __future__ import annotations

from tests.simulators.plex.behaviour import Behaviour
from tests.simulators.plex.editing import Editor, uploaded_poster
from tests.simulators.plex.edits import Edit, checked
from tests.simulators.plex.records import FIELDS, TAG_KINDS, PlexCollection, PlexItem, Record
from tests.simulators.plex.state import PlexState, folded


class Person:
    """Changes items and collections by hand."""

    def __init__(self, state: PlexState, behaviour: Behaviour) -> None:
        self._state = state
        self._behaviour = behaviour
        self._editor = Editor(state, behaviour)

    def sets(self, item: PlexItem, name: str, value: object) -> None:
        if name not in FIELDS:
            raise ValueError(f"no field of a movie: {name}")
        text = checked(name, "" if value is None else str(value))
        if name == "userRating":
            # The stars in the web app use the endpoint of ratings, which locks nothing.
            self._editor.apply_rating(item, text)
        else:
            self._editor.apply(item, Edit(values={name: text}, locks={name: True}))

    def adds(self, item: PlexItem, kind: str, tag: str) -> None:
        self._set_tags(item, kind, [*item.tags.get(kind, ()), tag])

    def removes(self, item: PlexItem, kind: str, tag: str) -> None:
        present = item.tags.get(kind, [])
        kept = [name for name in present if folded(name) != folded(tag)]
        if len(kept) == len(present):
            raise ValueError(f"the item has no {kind} {tag}")
        self._set_tags(item, kind, kept)

    def selects_poster(self, record: Record, data: bytes, name: str = "thumb") -> None:
        self._editor.apply_poster(record, uploaded_poster(data, data, name), name)

    def edits_collection(
        self, collection: PlexCollection, values: dict[str, str], poster: bytes | None
    ) -> None:
        if self._state.collections.get(collection.rating_key) is not collection:
            raise KeyError(collection.rating_key)
        edit = Edit(values=values, locks=dict.fromkeys(values, True))
        self._editor.check_collections([collection], edit)
        if values:
            self._editor.apply_to_collection(collection, edit)
        if poster is not None:
            self.selects_poster(collection, poster)

    def _set_tags(self, item: PlexItem, kind: str, names: list[str]) -> None:
        if kind not in TAG_KINDS:
            raise ValueError(f"no kind of tag: {kind}")
        stored = self._behaviour.normalize.names(kind, names)
        self._state.set_tags(item, kind, stored, item.roles)
        item.locked.add(kind)
        self._editor.move(item, {kind})
