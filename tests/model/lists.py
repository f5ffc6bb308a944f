"""README, "What wins?": genres, actors, directors and the collections of an item."""

from __future__ import annotations

from collections.abc import Callable

from tests.model.books import AGENT, BEFORE, MIXED, OURS, PERSON, ListBook, Names
from tests.model.rulings import KEEP, OPEN, WRITE, Meeting, Ruling
from tests.model.world import fold


class ListRules:
    """The rules for one list of one item; a verdict for each name.

    WRITE means that a wanted name must be there, and that another must be gone.
    """

    def __init__(self, meeting: Meeting, kind: str) -> None:
        self.meeting, self.kind = meeting, kind
        self.book: ListBook = meeting.book.lists[kind]
        self.now: Names = frozenset(fold(name) for name in meeting.now.lists[kind])
        self.want = meeting.want.names(kind)
        self.synced = self.book.synced if meeting.known else None

    def rulings(self) -> dict[str, Ruling]:
        """Return the verdict for each name that the list has or Stash wants."""
        return {name: self.ruling(name) for name in sorted(self.now | self.want)}

    def ruling(self, name: str) -> Ruling:
        rules: tuple[Callable[[str], Ruling | None], ...] = (
            self.switched_off,
            self.open_name,
            self.already_right,
            self.meeting.of_another_scene,
            self.resynced,
            self.taken_out_of_what_may_be_synced,
            self.first_meeting,
            self.never_written,
            self.added_in_stash,
            self.taken_out_in_plex,
            self.lost_in_a_refresh,
            self.added_in_plex,
            self.removed_in_stash,
        )
        for rule in rules:
            ruling = rule(name)
            if ruling is not None:
                return ruling
        return Ruling(OPEN, "nothing in README")

    # --- rules

    def switched_off(self, name: str) -> Ruling | None:
        if self.meeting.world.switch(self.kind):
            return None
        return Ruling(KEEP, "its switch is off")

    def open_name(self, name: str) -> Ruling | None:
        if name in self.meeting.want.open_names:
            return Ruling(OPEN, "the studio's collection while sync_studio is off")
        return None

    def already_right(self, name: str) -> Ruling | None:
        if name in self.want and name in self.now:
            return Ruling(KEEP, "Stash has it, and Plex")
        return None

    def resynced(self, name: str) -> Ruling | None:
        if not (self.meeting.resynced or self.meeting.resyncs_late):
            return None
        if name in self.want:
            is_certain = self.meeting.resynced and not self.meeting.preserve
            verdict = WRITE if is_certain else OPEN
            return Ruling(verdict, "Re-sync scene")
        if self.book.origin.get(name) in (PERSON, BEFORE):
            return None  # README: what it drops is what PlexSync had added
        return None

    def taken_out_of_what_may_be_synced(self, name: str) -> Ruling | None:
        unclear = self.book.unsure or self.meeting.book.perhaps_met
        if name not in self.want or name not in self.book.taken_out or not unclear:
            return None
        return Ruling(OPEN, "taken out in Plex, perhaps before it was synced")

    def first_meeting(self, name: str) -> Ruling | None:
        """Return the verdict at the first meeting of the scene and the item."""
        if self.meeting.known or not self.want:
            return None
        rule = "first meeting"
        wanted = name in self.want
        unclear = self.meeting.turned or (self.book.renewed and not self.meeting.repair)
        if self.meeting.book.perhaps_met and unclear:
            return Ruling(OPEN, rule)
        if self.book.unsure or self.meeting.book.perhaps_met:
            open_ = self.may_be_preserved or self.book.changed_first
            return Ruling(WRITE if wanted and not open_ else OPEN, rule)
        if self.meeting.preserve and self.now:
            foreign = any(self.book.origin.get(one) != OURS for one in self.now)
            return Ruling(KEEP if foreign else OPEN, f"{rule}: preserve_plex_edits")
        if wanted:
            return Ruling(WRITE, rule)
        return self.foreign_at_first_meeting(name)

    @property
    def may_be_replaced(self) -> bool:
        """Return whether the list may become the scene's although it was met before."""
        is_on = bool(self.meeting.world.settings["replace_lists"])
        return is_on and self.kind != "collection" and not self.meeting.preserve

    @property
    def may_be_preserved(self) -> bool:
        return self.meeting.preserve or self.meeting.turned

    def foreign_at_first_meeting(self, name: str) -> Ruling:
        """Return the verdict for a name that Plex has and Stash has not."""
        if self.kind == "collection":
            return Ruling(KEEP, "first meeting: collections are only added to")
        if self.book.origin.get(name) == OURS or self.meeting.book.former:
            return Ruling(OPEN, "first meeting: what PlexSync wrote for another scene")
        if self.kind not in self.meeting.now.locked:
            return Ruling(WRITE, "first meeting: the list becomes the scene's")
        if self.meeting.world.settings["replace_lists"]:
            return Ruling(WRITE, "first meeting: replace_lists")
        return Ruling(KEEP, "first meeting: a locked list is added to")

    def never_written(self, name: str) -> Ruling | None:
        """A list of a known item that PlexSync never wrote is added to."""
        if self.synced is not None:
            return None
        rule = "a list that was never written is added to"
        if name in self.want:
            if self.meeting.preserve and self.now:
                return Ruling(OPEN, rule)
            return Ruling(OPEN if self.meeting.perhaps_lost(self.book) else WRITE, rule)
        unclear = self.unclear or self.meeting.book.perhaps_met
        if unclear or self.may_be_replaced or self.book.origin.get(name) == OURS:
            return Ruling(OPEN, rule)
        return Ruling(KEEP, rule)

    def added_in_stash(self, name: str) -> Ruling | None:
        assert self.synced is not None
        if name not in self.want or name in self.synced:
            return None
        if any(old in self.book.taken_out for old in self.meeting.world.former_names(name)):
            return Ruling(OPEN, "renamed in Stash, and taken out in Plex under its former name")
        taken = name in self.book.taken_out or name in self.book.touched
        preserved = self.may_be_preserved and (taken or self.is_foreign)
        open_ = preserved or self.meeting.perhaps_lost(self.book)
        return Ruling(OPEN if open_ else WRITE, "added in Stash")

    @property
    def is_foreign(self) -> bool:
        """Return whether nothing in the list is PlexSync's."""
        return bool(self.now) and not any(self.book.origin.get(one) == OURS for one in self.now)

    def taken_out_in_plex(self, name: str) -> Ruling | None:
        """A name that a person took out stays out until the list changes in Stash."""
        if name not in self.want or name not in self.book.taken_out:
            return None
        if self.meeting.preserve:
            rule = "preserve_plex_edits: what you took out stays out"
            return Ruling(OPEN if self.unclear else KEEP, rule)
        changed = self.book.taken_out[name] != self.want or self.synced != self.want
        rule = "taken out in Plex: stays out until the list changes in Stash"
        return Ruling(OPEN if changed or self.unclear else KEEP, rule)

    @property
    def unclear(self) -> bool:
        return self.book.unsure or self.book.renewed or self.book.disturbed

    def lost_in_a_refresh(self, name: str) -> Ruling | None:
        if name not in self.want:
            return None
        if name in self.book.dropped:
            return Ruling(WRITE, "added in Stash again")
        if name not in self.book.lost:
            return Ruling(OPEN, "a wanted name that was never there")
        if self.meeting.preserve and (self.book.renewed or self.book.lost[name] != OURS):
            return Ruling(OPEN, "preserve_plex_edits: what PlexSync had not added")
        if self.book.lost[name] == MIXED:
            return Ruling(OPEN, "a refresh took it out, then a person changed the list")
        if self.book.unsure or (self.synced != self.want and not self.meeting.repair):
            return Ruling(OPEN, "a refresh, perhaps before it was synced")
        ruling = self.meeting.after_a_refresh(self.kind)
        if self.book.changed_first:
            changed = self.synced != self.want
            return Ruling(
                OPEN if changed else KEEP, "a list that you change first on a new item is yours"
            )
        return ruling

    def added_in_plex(self, name: str) -> Ruling | None:
        if name in self.want:
            return None
        origin = self.book.origin.get(name)
        if origin in (PERSON, BEFORE) and self.may_be_replaced:
            return Ruling(OPEN, "replace_lists, perhaps switched on since the first meeting")
        if origin == PERSON:
            if name in self.book.taken_out:
                return Ruling(OPEN, "taken out and added again in Plex")
            if name in self.book.dropped:
                return Ruling(OPEN, "put back before PlexSync's write was read back")
            return Ruling(KEEP, "added in Plex: stays")
        if origin == BEFORE:
            assert self.synced is not None
            if name in self.synced and self.kind not in self.meeting.now.locked:
                return Ruling(OPEN, "Plex had it before, and Stash dropped it")
            if name in self.synced:
                return Ruling(OPEN, "Plex had it before, and Stash dropped it")
            return Ruling(KEEP, "not PlexSync's")
        if origin == AGENT:
            return Ruling(OPEN, "added by a refresh")
        return None

    def removed_in_stash(self, name: str) -> Ruling | None:
        if name in self.want or self.book.origin.get(name) != OURS:
            return None
        assert self.synced is not None
        if self.kind == "collection" and name in self.meeting.last_in:
            return Ruling(
                self.meeting.last_in[name], "the last item of a collection stays, or not for long"
            )
        if name in self.synced or self.book.unsure:
            renamed = name in self.meeting.world.renamed
            return Ruling(WRITE, "renamed in Stash" if renamed else "removed in Stash")
        return Ruling(OPEN, "PlexSync's, and long gone from Stash")
