"""Templates of titles: text with parts in braces, such as "{performers} - {title} ({year})".

An empty part takes its separator with it: the text before it, or the text after it where nothing
comes before. Brackets without content go too.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_PART = re.compile(r"\{([^{}]*)\}")
_CLOSING = {"(": ")", "[": "]"}
#: Brackets in brackets.
_DEEPEST = 20


@dataclass(frozen=True)
class _Part:
    name: str


@dataclass(frozen=True)
class _Group:
    """Text in brackets that goes when its parts are empty."""

    opening: str
    nodes: tuple[_Node, ...]


_Node = str | _Part | _Group


@dataclass(frozen=True)
class Template:
    """A template, parsed; see `parse_template`."""

    text: str
    nodes: tuple[_Node, ...]

    @property
    def parts(self) -> frozenset[str]:
        """The names of its parts."""
        return frozenset(_PART.findall(self.text))

    def render(self, values: Mapping[str, str]) -> str:
        """Return the text for these values; "" if all its parts are empty."""
        return _render(self.nodes, values)


def parse_template(text: str, known: Iterable[str]) -> Template:
    """Parse a template.

    Args:
        known: names of the parts that it may have.

    Raises:
        ValueError: one sentence that says what is wrong.
    """
    names = tuple(known)
    wanted = ", ".join(f"{{{name}}}" for name in names)
    parts = _PART.findall(text)
    unknown = next((name for name in parts if name not in names), None)
    if unknown is not None:
        raise ValueError(f"{{{unknown}}} is unknown; there are {wanted}")
    if re.search(r"[{}]", _PART.sub("", text)):
        raise ValueError(f"a brace has no partner; parts look like {wanted}")
    if not parts:
        raise ValueError(f"must have a part such as {wanted}")
    return Template(text, _parse(text))


def _parse(text: str) -> tuple[_Node, ...]:
    partners = _partners(text)
    starts = [part.start() for part in _PART.finditer(text)]

    def parse(at: int, end: int, depth: int) -> tuple[_Node, ...]:
        if depth > _DEEPEST:
            raise ValueError(f"brackets may stand in each other {_DEEPEST} times at most")
        nodes: list[_Node] = []
        literal = at
        while at < end:
            part, close = _PART.match(text, at), partners.get(at, end)
            first = bisect_left(starts, at)
            is_group = close < end and first < len(starts) and starts[first] < close
            if part is None and not is_group:
                at += 1
                continue
            nodes.append(text[literal:at])
            if part is not None:
                nodes.append(_Part(part[1]))
                literal = at = part.end()
            else:
                nodes.append(_Group(text[at], parse(at + 1, close, depth + 1)))
                literal = at = close + 1
        nodes.append(text[literal:end])
        return tuple(nodes)

    return parse(0, len(text), 0)


def _partners(text: str) -> dict[int, int]:
    """Return where each bracket opens → where it closes; one without a partner is text."""
    found: dict[int, int] = {}
    opened: dict[str, list[int]] = {closing: [] for closing in _CLOSING.values()}
    for at, char in enumerate(text):
        if char in _CLOSING:
            opened[_CLOSING[char]].append(at)
        elif opened.get(char):
            found[opened[char].pop()] = at
    return found


def _render(nodes: tuple[_Node, ...], values: Mapping[str, str]) -> str:
    """Render nodes: literals stand before, between and after the parts, in turn."""
    lead, separator, tail = str(nodes[0]), "", str(nodes[-1])
    text = ""
    for node, literal in zip(nodes[1::2], nodes[2::2], strict=True):
        value = _value(node, values)
        if value:
            text += (separator if text else "") + value
            separator = str(literal)
        elif text:
            separator = str(literal)  # instead of the one before the empty part
    return f"{lead}{text}{tail}" if text else ""


def _value(node: _Node, values: Mapping[str, str]) -> str:
    if isinstance(node, _Part):
        return values.get(node.name, "")
    assert isinstance(node, _Group)
    inside = _render(node.nodes, values)
    return f"{node.opening}{inside}{_CLOSING[node.opening]}" if inside else ""
