"""README, "What wins?": the poster."""

from __future__ import annotations

from collections.abc import Callable

from tests.model.rulings import KEEP, OPEN, WRITE, Meeting, Ruling


class PosterRules:
    """The rules for the poster of one item."""

    def __init__(self, meeting: Meeting) -> None:
        self.meeting = meeting
        self.book = meeting.book.poster
        self.now = meeting.now.poster
        self.want = meeting.want.cover
        self.met = self.book.met and meeting.known

    def ruling(self) -> Ruling:
        rules: tuple[Callable[[], Ruling | None], ...] = (
            self.switched_off,
            self.without_a_cover,
            self.meeting.of_another_scene,
            self.resynced,
            self.already_right,
            self.preserved,
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

    def switched_off(self) -> Ruling | None:
        if self.meeting.world.switch("thumb"):
            return None
        return Ruling(KEEP, "its switch is off")

    def without_a_cover(self) -> Ruling | None:
        if self.want is not None:
            return None
        return Ruling(KEEP, "the scene has no cover")

    def resynced(self) -> Ruling | None:
        if not (self.meeting.resynced or self.meeting.resyncs_late):
            return None
        is_certain = self.meeting.resynced and not self.meeting.preserve
        return Ruling(WRITE if is_certain else OPEN, "Re-sync scene and its cover")

    def already_right(self) -> Ruling | None:
        if self.now == self.want and self.met:
            return Ruling(KEEP, "it is right already")
        if self.now == self.want:
            return Ruling(OPEN, "Plex has that picture already")
        return None

    def preserved(self) -> Ruling | None:
        if not self.meeting.preserve:
            return None
        if self.book.by_person:
            return Ruling(KEEP, "preserve_plex_edits: a poster that you chose stays")
        return None if self.met and self.book.wrote is not None else Ruling(OPEN, "preserve")

    def first_meeting(self) -> Ruling | None:
        if self.met:
            return None
        if self.book.unsure and self.book.renewed and not self.meeting.repair:
            return Ruling(OPEN, "first meeting, or a cover lost with the item")
        locked = "thumb" in self.meeting.now.locked and self.now is not None
        if not locked or (self.now == self.book.wrote and not self.book.by_person):
            return Ruling(WRITE, "first meeting: the cover")
        if self.book.unsure or self.meeting.known or self.meeting.book.perhaps_met:
            return Ruling(OPEN, "first meeting with a locked poster")
        if self.meeting.saved and not self.meeting.world.round.swept:
            return Ruling(WRITE, "first meeting: saving replaces a locked poster")
        if self.meeting.world.round.swept and not self.meeting.saved:
            return Ruling(KEEP, "first meeting: Sync all scenes keeps a locked poster")
        return Ruling(OPEN, "first meeting with a locked poster")

    def changed_in_stash(self) -> Ruling | None:
        if self.book.by_person:
            if self.book.stash_then != self.want:
                return Ruling(WRITE, "a new cover after a change in Plex")
            if self.book.synced != self.want:
                return Ruling(OPEN, "a new cover, then a change in Plex")
            return None
        if self.book.synced != self.want:
            return Ruling(WRITE, "a new cover")
        return None

    def kept_at_first_meeting(self) -> Ruling | None:
        """Saving the scene replaces a locked poster; README leaves open for how long."""
        if not self.book.kept:
            return None
        return Ruling(
            OPEN if self.meeting.changed or self.meeting.turned else KEEP,
            "kept at the first meeting",
        )

    def changed_in_plex(self) -> Ruling | None:
        if not self.book.by_person:
            return None
        rule = "a poster chosen in Plex stays until the cover changes"
        return Ruling(OPEN if self.book.unsure else KEEP, rule)

    def changed_by_a_refresh(self) -> Ruling | None:
        if not self.book.disturbed:
            return None
        if self.book.unsure:
            return Ruling(OPEN, "a refresh, perhaps before it was synced")
        ruling = self.meeting.after_a_refresh("thumb")
        if ruling.verdict is WRITE and not self.meeting.repair:
            return Ruling(WRITE, "repair_drift is off: a save brings the cover back")
        return ruling
