"""The rules of what goes to Plex, as a person writes them: their grammar, and what they say.

Entries are separated by `;` or a new line, names by commas; `=>` stands between a condition and
its outcome. A name that holds one of these, or the word "and", is put in double quotes. Names are
compared as Plex does: ASCII letters without case. A condition has one name.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from validation.metadata import SyncMetadata
from validation.sanitizers import fold, sanitize_for_plex, without_emoji
from validation.templates import Template, parse_template

#: Parts of a title's template, and of the sort title of a collection.
TITLE_PARTS = (
    "title", "date", "year", "studio", "parent_studio", "performers", "first_performer", "code",
    "filename",
)  # fmt: skip
COLLECTION_PARTS = ("name", "prefix")
TARGETS = ("genres", "labels", "collections", "none")
STUDIO_FROM = ("studio", "parent", "both")
COLLECTION_KINDS = (
    "studio", "parent_studio", "groups", "tags", "performers", "rating", "organized",
)  # fmt: skip

# A quoted name is matched in one way only: with two, a text of forty quotes takes for ever.
_SEPARATORS = {";": re.compile(r'(?:[^";\n]|"[^"\n]*"?)+'), ",": re.compile(r'(?:[^",]|"[^"]*"?)+')}
_AND = re.compile(r'((?:"[^"]*"|[^"])*?)(?:\sand\s|\Z)', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_ARROW = re.compile(r'((?:"[^"]*"|[^"])*?)=>(.*)', re.DOTALL)
_CONDITIONS = (
    "organized, stash_id, tag NAME, below NAME, studio NAME, performer NAME, path FOLDER, or"
    " rating >= 80"
)
#: Another condition after "or", which does not separate conditions.
_OR = re.compile(
    r"\sor\s+(?:not\s+)?(?:organized|stash_id|tag|below|studio|performer|path|rating)\b",
    re.IGNORECASE,
)
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")
_RATING = re.compile(r"(>=|<=|>|<|=)\s*(\d{1,3})")
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    ">=": lambda one, other: one >= other, "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other, "<": lambda one, other: one < other,
    "=": lambda one, other: one == other,
}  # fmt: skip


@dataclass(frozen=True)
class Names:
    """One name, or all that begin alike."""

    #: as Plex compares it, without the `*`
    text: str
    is_start: bool = False

    def fit(self, name: str) -> bool:
        """Return whether a name is meant."""
        folded = fold(name)
        return folded.startswith(self.text) if self.is_start else folded == self.text


@dataclass(frozen=True)
class Term:
    """One condition, such as `tag Softcore` or `not organized`."""

    kind: str
    names: Names = field(default_factory=lambda: Names(""))
    folder: str = ""
    #: of `rating`
    operator: str = ""
    number: int = 0
    is_negated: bool = False

    def fits(self, scene: SyncMetadata, *, performer_tags: bool) -> bool:
        """Return whether a scene meets the condition."""
        return self._is_met(scene, performer_tags) is not self.is_negated

    def _is_met(self, scene: SyncMetadata, performer_tags: bool) -> bool:
        if self.kind == "rating":
            rating = scene.rating100
            return rating is not None and _COMPARE[self.operator](rating, self.number)
        if self.kind == "path":
            return _is_within(scene.path or "", self.folder)
        if self.kind == "organized":
            return scene.organized
        if self.kind == "stash_id":
            return scene.has_stash_id
        return any(map(self.names.fit, self._names_of(scene, performer_tags)))

    def _names_of(self, scene: SyncMetadata, performer_tags: bool) -> Iterator[str]:
        if self.kind == "studio":
            yield from filter(None, (scene.studio, scene.parent_studio))
        elif self.kind == "performer":
            yield from scene.performers
        else:
            for tag in (*scene.tags, *(scene.performer_tags if performer_tags else ())):
                yield from (tag,) if self.kind == "tag" else scene.tag_ancestors.get(tag, ())


@dataclass(frozen=True)
class Condition:
    """Conditions that must all be met."""

    #: as the user wrote it
    text: str
    terms: tuple[Term, ...]

    def fits(self, scene: SyncMetadata, *, performer_tags: bool) -> bool:
        """Return whether a scene meets all of them."""
        return all(term.fits(scene, performer_tags=performer_tags) for term in self.terms)


@dataclass(frozen=True)
class Outcome:
    """A value for the scenes that meet a condition."""

    #: None: all scenes
    condition: Condition | None
    value: str


@dataclass(frozen=True)
class TagPattern:
    """Tags by name, or by what they are below or above."""

    #: "name", "below" or "above"
    kind: str
    names: Names

    def fits(self, tag: str, ancestors: Mapping[str, tuple[str, ...]]) -> bool:
        """Return whether a tag of a scene is meant.

        Args:
            ancestors: tag of the scene, or above one → its parents, their parents, and so on.
        """
        if self.kind == "name":
            return self.names.fit(tag)
        if self.kind == "below":
            return any(map(self.names.fit, ancestors.get(tag, ())))
        above = fold(tag)
        return any(
            above in map(fold, parents)
            for child, parents in ancestors.items()
            if self.names.fit(child)
        )


@dataclass(frozen=True)
class TagRule:
    """The targets of the tags that fit one of some patterns."""

    patterns: tuple[TagPattern, ...]
    #: of `TARGETS`; none: nowhere
    targets: frozenset[str]


#: The title as Stash has it.
TITLE = parse_template("{title}", TITLE_PARTS)


@dataclass(frozen=True)
class Rules:
    """All rules. The defaults are what PlexSync does without any."""

    title: Template = TITLE
    sort_title: Template | None = None
    title_without_performers: bool = False
    tags: tuple[TagRule, ...] = ()
    performer_tags: bool = False
    tag_parents: bool = False
    #: of genres; None: any number
    max_tags: int | None = None
    studio_from: str = "studio"
    #: kind → prefix of its names
    collections: Mapping[str, str] = field(default_factory=lambda: {"studio": "", "groups": ""})
    collection_sort_title: Template | None = None
    content_rating: tuple[Outcome, ...] = ()
    labels: tuple[Outcome, ...] = ()
    tagline: bool = False
    original_title: bool = False
    keep_emoji: bool = True
    include: tuple[Condition, ...] = ()
    exclude: tuple[Condition, ...] = ()

    def targets_of(self, tag: str, ancestors: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
        """Return where a tag goes: the first rule that fits says it, else it is a genre."""
        for rule in self.tags:
            if any(pattern.fits(tag, ancestors) for pattern in rule.patterns):
                return rule.targets
        return frozenset(("genres",))

    def shown(self, text: str) -> str:
        """Return a text as Plex is to have it: without emoji, if the user wants none."""
        return text if self.keep_emoji else without_emoji(text)

    @property
    def filters_scenes(self) -> bool:
        """Return whether a rule includes or excludes scenes."""
        return bool(self.include or self.exclude)

    def why_left_out(self, scene: SyncMetadata) -> str | None:
        """Return which rule leaves a scene out, in words for the user; None: it is synced."""
        for condition in self.exclude:
            if self._fits(scene, condition):
                return f"left out by your rule: {condition.text}"
        if not self.include or any(self._fits(scene, condition) for condition in self.include):
            return None
        wanted = "; ".join(condition.text for condition in self.include)
        return f"left out: none of your rules includes it ({wanted})"

    def content_rating_of(self, scene: SyncMetadata) -> str:
        """Return the content rating of a scene, "" without one: the first entry that fits."""
        return next(self._values(self.content_rating, scene), "")

    def labels_of(self, scene: SyncMetadata) -> tuple[str, ...]:
        """Return the labels of a scene that do not come from tags: all entries that fit."""
        return tuple(self._values(self.labels, scene))

    def _values(self, outcomes: tuple[Outcome, ...], scene: SyncMetadata) -> Iterator[str]:
        for one in outcomes:
            if one.condition is None or self._fits(scene, one.condition):
                yield one.value

    def _fits(self, scene: SyncMetadata, condition: Condition) -> bool:
        return condition.fits(scene, performer_tags=self.performer_tags)


def parse_conditions(text: str) -> tuple[Condition, ...]:
    """Parse conditions, one per entry.

    Raises:
        ValueError: one sentence that says what is wrong; so with all that follow.
    """
    return tuple(_condition(entry) for entry in _entries(text))


def parse_outcome(text: str) -> tuple[Outcome, ...]:
    """Parse `condition => value` entries of which the first that fits counts.

    An entry without a condition is for all scenes.
    """
    outcomes = parse_outcomes(text)
    if len(outcomes) > len(_entries(text)):
        raise ValueError(
            f"{text[:80]!r}: only one value may follow a condition; separate entries by semicolons,"
            " and put a value that holds a comma in double quotes"
        )
    return outcomes


def parse_outcomes(text: str) -> tuple[Outcome, ...]:
    """Parse `condition => value, value` entries; one without a condition is for all scenes."""
    outcomes = []
    for entry in _entries(text):
        condition, values = _arrow(entry)
        fits = _condition(condition) if condition else None
        found = _split(values, ",")
        if not found:
            raise ValueError("a name is missing")
        outcomes += [Outcome(fits, _text(value)) for value in found]
    return tuple(outcomes)


def parse_tag_rules(text: str) -> tuple[TagRule, ...]:
    """Parse `names => targets` entries."""
    rules = []
    for entry in _entries(text):
        names, targets = _arrow(entry)
        if not names:
            raise ValueError(f"{entry!r} must look like Name, Other* => genres")
        wanted = [one.strip().lower() for one in targets.split(",")]
        unknown = next((one for one in wanted if one not in TARGETS), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} is unknown; tags go to {_listed(TARGETS)}")
        if "none" in wanted and len(wanted) > 1:
            raise ValueError(f"{entry!r}: none goes with no other target")
        patterns = tuple(map(_tag_pattern, _split(names, ",")))
        rules.append(TagRule(patterns, frozenset(wanted) - {"none"}))
    return tuple(rules)


def parse_collections(text: str) -> dict[str, str]:
    """Parse kinds of collections, each with a prefix or without; return kind → prefix."""
    found = {}
    for entry in _entries(text):
        kinds, prefix = _arrow(entry)
        kinds, prefix = (kinds, _text(prefix)) if kinds else (prefix, "")
        for kind in (one.strip().lower() for one in kinds.split(",")):
            if kind not in COLLECTION_KINDS:
                raise ValueError(f"{kind!r} is unknown; there are {_listed(COLLECTION_KINDS)}")
            found[kind] = prefix
    return found


def _condition(text: str) -> Condition:
    words = _QUOTED.sub('""', text).lower().split()
    if words and "and" in (words[0], words[-1]):
        raise ValueError(f"{text[:80]!r}: a condition is missing before or after and")
    terms = tuple(_term(found[1].strip()) for found in _AND.finditer(text) if found[0].strip())
    if not terms:
        raise ValueError("a condition is missing")
    return Condition(" ".join(text.split()), terms)


def _term(text: str) -> Term:
    kind, _, rest = text.partition(" ")
    kind, rest = kind.lower(), rest.strip()
    if kind == "not" and rest:
        if rest.lower().startswith("not "):
            raise ValueError(f"{text[:80]!r} has not twice")
        return replace(_term(rest), is_negated=True)
    if kind in ("organized", "stash_id") and not rest:
        return Term(kind)
    rating = _RATING.fullmatch(text[len("rating") :].strip()) if kind.startswith("rating") else None
    if rating is not None:
        if int(rating[2]) > 100:
            raise ValueError(f"{text!r}: a rating is 0 to 100 (five stars)")
        return Term("rating", operator=rating[1], number=int(rating[2]))
    if kind in ("tag", "below", "studio", "performer") and rest:
        return Term(kind, _names(_one(rest)))
    if kind == "path" and rest:
        return Term(kind, folder=_folder(_one(rest)))
    raise ValueError(
        f'{text!r} is unknown; conditions are {_CONDITIONS}, with "not" before one and "and"'
        ' between two. A name that holds "and" is put in double quotes'
    )


def _one(text: str) -> str:
    """Return the name or folder of a condition, which must not look like several."""
    # It would fit nothing, and scenes would be written that were to be left out.
    outside = _QUOTED.sub("", text)
    if "," in outside or "=>" in outside or _OR.search(outside):
        raise ValueError(
            f"{text[:80]!r} must be one name or folder: separate conditions by semicolons (tag A;"
            " tag B), and put a name that holds a comma, => or the word or in double quotes"
        )
    return text


def _folder(text: str) -> str:
    """Return the folder of a condition."""
    folder = _unquoted(text)
    if folder == text:  # not in quotes
        folder = folder[:-1] if folder.endswith(("/*", "\\*")) else folder
        if folder.endswith("*"):
            raise ValueError(f"{text[:80]!r} must be a whole folder: all that is in it fits")
    if not _ABSOLUTE.match(folder):
        raise ValueError(
            f"{text[:80]!r} must be a whole path, as Stash shows it: such as /data/private"
        )
    return folder


def _tag_pattern(text: str) -> TagPattern:
    kind, _, rest = text.partition(" ")
    if kind.lower() in ("below", "above") and rest.strip():
        return TagPattern(kind.lower(), _names(rest.strip()))
    return TagPattern("name", _names(text))


def _names(text: str) -> Names:
    if text.startswith('"'):
        return Names(fold(_text(text)))
    is_start = text.endswith("*")
    name = sanitize_for_plex(text.rstrip("*") if is_start else text)
    if not name and not is_start:
        raise ValueError("a name is missing")
    return Names(fold(name), is_start)


def _entries(text: str) -> list[str]:
    entries = _split(text, ";")
    if any(one.count('"') % 2 for one in entries):
        raise ValueError("a double quote has no partner")
    return entries


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator that is not in double quotes; drop empty entries."""
    return [one.strip() for one in _SEPARATORS[separator].findall(text) if one.strip()]


def _arrow(entry: str) -> tuple[str, str]:
    """Return (what stands before `=>`, what after it); "" and the entry where there is none."""
    found = _ARROW.fullmatch(entry)
    if found is None:
        return "", entry
    before, after = found[1].strip(), found[2].strip()
    if not before or not after:
        raise ValueError(f"{entry!r}: something is missing before or after =>")
    return before, after


def _text(text: str) -> str:
    value = sanitize_for_plex(_unquoted(text))
    if not value:
        raise ValueError("a name is missing")
    return value


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    if _QUOTED.fullmatch(text) is None:
        raise ValueError(f"{text[:80]!r}: double quotes stand around one whole name, not inside it")
    return text[1:-1]


def _is_within(path: str, folder: str) -> bool:
    """Return whether a path is a folder, or below it; either may be a Windows path."""
    one, other = (posixpath.normpath(text.replace("\\", "/")) for text in (path, folder))
    return bool(path) and (one == other or one.startswith(other.rstrip("/") + "/"))


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}"
