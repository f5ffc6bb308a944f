"""README, "What wins?": texts, dates and the rating."""

from __future__ import annotations

from collections.abc import Callable

from tests.model.books import TextBook
from tests.model.rulings import KEEP, OPEN, WRITE, Meeting, Ruling

#: The fields that README names for the first meeting with a value of a person; the lock tells,
#: but for stars.
_KEPT_AT_FIRST = ("title", "summary", "userRating")


class TextRules:
    """The rules for one text of one item, in the order in which they apply."""

    def __init__(self, meeting: Meeting, name: str) -> None:
        self.meeting, self.name = meeting, name
        self.book: TextBook = meeting.book.texts[name]
        self.now = meeting.now.texts[name]
        self.want = meeting.want.texts[name]
        self.fallback = name == "title" and not self.want
        known = meeting.known and self.book.synced is not None
        self.synced = self.book.synced if known else None
        #: What counts as right; several for a title that is a file name.
        self.right = meeting.want.stems if self.fallback else frozenset({self.want})

    def ruling(self) -> Ruling:
        """Return the first rule's verdict."""
        rules: tuple[Callable[[], Ruling | None], ...] = (
            self.switched_off,
            self.already_right,
            self.meeting.of_another_scene,
            self.resynced,
            self.preserved,
            self.empty_in_stash,
            self.first_meeting,
            self.changed_in_stash,
            self.kept_at_first_meeting,
            self.changed_in_plex,
            self.changed_by_a_refresh,
        )
        for rule in rules:
            ruling = rule()
            if ruling is not None:
                return ruling
        return Ruling(OPEN, "nothing in README")

    @property
    def is_ours(self) -> bool:
        """Return whether Plex still has what PlexSync wrote."""
        return self.book.wrote is not None and self.now == self.book.wrote

    def switched_off(self) -> Ruling | None:
        if self.meeting.world.switch(self.name):
            return None
        return Ruling(KEEP, "its switch is off")

    def already_right(self) -> Ruling | None:
        if self.now in self.right:
            return Ruling(KEEP, "it is right already")
        return None

    def resynced(self) -> Ruling | None:
        """*Re-sync scene* writes over what was changed in Plex."""
        if not self.want or self.meeting.preserve:
            return None
        if self.meeting.resynced:
            return Ruling(WRITE, "Re-sync scene")
        return Ruling(OPEN, "Re-sync scene") if self.meeting.resyncs_late else None

    def preserved(self) -> Ruling | None:
        """With `preserve_plex_edits`, only what is empty or filled by PlexSync is written."""
        if not self.meeting.preserve or self.is_ours:
            return None
        rule = "preserve_plex_edits"
        if not self.now:
            locked = self.name in self.meeting.now.locked
            if self.book.by_person or locked or not self.want:
                return Ruling(OPEN, rule)
            refreshed = self.book.disturbed and self.meeting.after_a_refresh(self.name)
            return Ruling(OPEN if refreshed and refreshed.verdict is not WRITE else WRITE, rule)
        if self.book.by_person:
            return Ruling(KEEP, rule)
        if (
            self.book.wrote is not None or self.book.renewed
        ):  # PlexSync filled it, and something else overwrote it
            return Ruling(OPEN, rule)
        return Ruling(KEEP, rule)

    def empty_in_stash(self) -> Ruling | None:
        """An emptied field is emptied if Plex still has what PlexSync wrote."""
        if self.want:
            return None
        if self.fallback:
            return self.without_a_title()
        if not self.is_ours or self.book.synced is None:
            if self.book.disturbed or self.book.unsure:
                return Ruling(OPEN, "emptied, and changed by others")
            return Ruling(KEEP, "emptied in Stash, but not PlexSync's value")
        if not self.meeting.known:
            return Ruling(OPEN, "emptied, of another scene")
        return Ruling(WRITE, "emptied in Stash")

    def without_a_title(self) -> Ruling:
        """A scene without a title gets its file name where Plex's is empty or PlexSync's."""
        rule = "the file name as a title"
        if not self.now or self.is_ours:
            return Ruling(WRITE, rule)
        if self.book.disturbed and not self.book.by_person:
            return Ruling(OPEN, rule)
        return Ruling(KEEP, rule)

    def first_meeting(self) -> Ruling | None:
        if self.synced is not None:
            return None
        rule = "first meeting"
        unclear = self.meeting.turned or (self.book.renewed and not self.meeting.repair)
        perhaps = self.meeting.book.perhaps_met or self.book.unsure
        if perhaps and (unclear or self.book.by_person):
            return Ruling(OPEN, rule)
        if self.is_ours:
            return Ruling(WRITE, rule)
        is_given = self.name in self.meeting.now.locked or self.name == "userRating"
        if not is_given or not self.now:
            return Ruling(WRITE, rule)
        unclear = self.book.unsure or self.meeting.book.perhaps_met or self.meeting.known
        if unclear or self.name not in _KEPT_AT_FIRST:
            return Ruling(OPEN, rule)
        if self.book.stash_then not in (None, self.want):
            return Ruling(OPEN, rule)
        if self.meeting.saved and not self.meeting.world.round.swept:
            return Ruling(WRITE, "first meeting: saving replaces a locked value")
        if self.meeting.world.round.swept and not self.meeting.saved:
            return Ruling(KEEP, "first meeting: Sync all scenes keeps a locked value")
        return Ruling(OPEN, rule)

    def changed_in_stash(self) -> Ruling | None:
        if self.book.by_person:
            if self.book.stash_then != self.want:
                return Ruling(WRITE, "changed in Stash after a change in Plex")
            if self.want != self.synced:
                return Ruling(OPEN, "changed in Stash, then in Plex")
            return None
        if self.want != self.synced or (self.is_ours and self.book.wrote not in self.right):
            open_ = self.meeting.perhaps_lost(self.book)
            return Ruling(OPEN if open_ else WRITE, "changed in Stash")
        return None

    def kept_at_first_meeting(self) -> Ruling | None:
        """Saving the scene replaces a locked value; README leaves open for how long.

        One that is not locked stayed for `preserve_plex_edits` alone, which is off here.
        """
        if not self.book.kept:
            return None
        free = self.name not in self.meeting.now.locked
        return Ruling(
            OPEN if free or self.meeting.changed or self.meeting.turned else KEEP,
            "kept at the first meeting",
        )

    def changed_in_plex(self) -> Ruling | None:
        if not self.book.by_person:
            return None
        if self.book.replaced == self.now:
            return Ruling(OPEN, "put back before PlexSync's write was read back")
        rule = "changed in Plex: stays until it changes in Stash"
        return Ruling(OPEN if self.book.unsure or self.name == "userRating" else KEEP, rule)

    def changed_by_a_refresh(self) -> Ruling | None:
        if not self.book.disturbed:
            return None
        if self.book.unsure:
            return Ruling(OPEN, "a refresh, perhaps before it was synced")
        ruling = self.meeting.after_a_refresh(self.name)
        if self.name == "userRating" and ruling.verdict is WRITE:
            return Ruling(WRITE, "the rating of an item that was added again")
        return ruling
