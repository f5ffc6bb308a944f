"""The state of one field of an item: before us, from us, wanted, last seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: A text, or the names of a list.
Value = str | tuple[str, ...]

_VALUES = ("before", "ours", "wanted", "observed", "form", "sent", "replaced", "claim", "asked")
#: Of `FieldState.asks`: the user has not answered, said yes, or said no.
OPEN, GRANTED, DECLINED = "open", "granted", "declined"


@dataclass(frozen=True)
class FieldState:
    """What the history knows of one field. None: not known, or never happened."""

    #: what Plex had before our first write
    before: Value | None = None
    #: the text that we wrote, or the names that we added
    ours: Value | None = None
    #: what Stash said when the scene was last synced
    wanted: Value | None = None
    #: what Plex had when the item was last read
    observed: Value | None = None
    #: how Plex stores `wanted`, where it changes what it is sent
    form: Value | None = None
    #: the last write, until a read shows what Plex made of it
    sent: Value | None = None
    #: what that write replaced
    replaced: Value | None = None
    #: what `ours` becomes if Plex took that write; None: `sent`
    claim: Value | None = None
    #: what is not written without a yes, as it may show the item to restricted accounts
    asked: Value | None = None
    #: `OPEN`, `GRANTED` or `DECLINED`; "": there is nothing to ask
    asks: str = ""
    #: reads that did not show `sent`
    misses: int = 0
    #: Plex does not take `wanted`, and why
    refused: bool = False
    why: str = ""
    #: a person's edit in Plex stays until `wanted` changes
    kept: bool = False
    #: that edit was made after the first meeting, so that a save of the scene leaves it too
    edited: bool = False
    #: a short hash of what Stash made `wanted` from when that edit was kept; "": not known
    source: str = ""
    #: repairs of this `wanted`, and when the last one was (epoch seconds)
    repairs: int = 0
    repaired_at: float = 0.0
    #: it drifted, and is repaired once enough time has passed since the last repair
    waits: bool = False
    #: the user said so: nothing is written until the user says otherwise
    held: bool = False
    #: the user wants Stash's value in Plex, whatever is there
    take: bool = False
    #: Plex had a lock on the field before our first write
    was_locked: bool = False
    #: names of a list that were there before us were taken for Stash's; that is done once
    taken_over: bool = False

    @property
    def claimed(self) -> Value | None:
        """Return what becomes ours once Plex shows the last write.

        Of an undo, only what it claims.
        """
        return self.claim if self.held or self.claim is not None else self.sent


Fields = Mapping[str, FieldState]

_DEFAULTS = FieldState()


def read_at(fields: Fields, item_updated_at: int) -> int:
    """Return the item's `updatedAt` to go by; 0 while a field waits for its next repair.

    As it differs from any, each full pass reads the item again.
    """
    return 0 if any(state.waits for state in fields.values()) else item_updated_at


def rename(fields: Fields, kind: str, old: str, new: str) -> dict[str, FieldState]:
    """Return states in which a name in Plex has become another, as it had in Stash.

    What Plex had before us stays, and so does what Stash said: it has to be compared.
    """
    state = fields.get(kind)
    if state is None:
        return dict(fields)
    values: dict[str, Any] = {
        name: tuple(new if _fold(one) == _fold(old) else one for one in value)
        for name in _VALUES
        if name not in ("before", "wanted") and isinstance(value := getattr(state, name), tuple)
    }
    # A scene may want the former name by then, as another group has it: `new` is to go from it.
    return {**fields, kind: dataclasses.replace(state, **values, waits=True)}


def rename_by_person(fields: Fields, kind: str, old: str, new: str) -> dict[str, FieldState]:
    """Return states in which a person has renamed in Plex what had a name of ours.

    The new name is the person's. Where it was seen, it stands for the former one until Stash's
    list changes.
    """
    state = fields.get(kind)
    seen = state.observed if state is not None else None
    if not isinstance(seen, tuple) or _fold(old) not in map(_fold, seen):
        return dict(fields)
    state = rename(fields, kind, old, new)[kind]
    ours = tuple(one for one in state.ours or () if _fold(one) != _fold(new))
    return {**fields, kind: dataclasses.replace(state, ours=ours, form=state.form or ())}


def _fold(name: str) -> bytes:
    """Return a name as Plex compares it: of bytes, only ASCII letters have a case."""
    return name.encode("utf-8", "surrogatepass").lower()


_OTHERS = tuple(field.name for field in dataclasses.fields(FieldState) if field.name not in _VALUES)


def encode(fields: Fields) -> dict[str, dict[str, Any]]:
    """Return states in JSON's types, without defaults.

    Most values equal `wanted`: they are only named (key "same"), as a summary may be long.
    """
    return {name: _encode(state) for name, state in fields.items()}


def decode(content: Mapping[str, Mapping[str, Any]]) -> dict[str, FieldState]:
    """Return the states that `encode` stored; skip what cannot be read.

    Raises:
        ValueError: it is not an object of objects.
    """
    try:
        return {name: _decode(dict(state)) for name, state in content.items()}
    except (AttributeError, TypeError) as error:
        raise ValueError("not a history of fields") from error


def _encode(state: FieldState) -> dict[str, Any]:
    content: dict[str, Any] = {}
    same = []
    for name in _VALUES:
        value = getattr(state, name)
        if value is None:
            continue
        if name != "wanted" and value == state.wanted:
            same.append(name)
        else:
            content[name] = value if isinstance(value, str) else list(value)
    if same:
        content["same"] = same
    for name in _OTHERS:
        value = getattr(state, name)
        if value != getattr(_DEFAULTS, name):
            content[name] = value
    return content


def _decode(content: dict[str, Any]) -> FieldState:
    values: dict[str, Any] = {
        name: _value(content[name]) for name in _VALUES if content.get(name) is not None
    }
    values.update(dict.fromkeys(content.get("same", ()), values.get("wanted")))
    values.update({name: content[name] for name in _OTHERS if name in content})
    return FieldState(**values)


def _value(stored: Any) -> Value:
    return stored if isinstance(stored, str) else tuple(map(str, stored))
