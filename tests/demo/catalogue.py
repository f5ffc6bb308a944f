"""The demo's scenes: invented films, and the edits made to them in Stash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STASH_FOLDER = "/data/films"
PLEX_FOLDER = "/media/films"


@dataclass(frozen=True)
class Sample:
    """One file and its metadata in Stash."""

    file: str
    title: str
    date: str
    studio: str
    performers: tuple[str, ...]
    tags: tuple[str, ...]
    group: str = ""

    @property
    def name(self) -> str:
        return self.title or self.file

    @property
    def stash_path(self) -> str:
        return f"{STASH_FOLDER}/{self.file}"

    @property
    def plex_path(self) -> str:
        return f"{PLEX_FOLDER}/{self.file}"

    @property
    def size(self) -> int:
        """Return the file's size in bytes; no two files have the same."""
        return 700_000_000 + sum(map(ord, self.file)) * 1_000

    def edit(self) -> dict[str, Any]:
        """Return all fields that the edit page sends."""
        fields: dict[str, Any] = {
            "title": self.title,
            "details": f"{', '.join(self.tags)}.\nWith {' and '.join(self.performers)}.",
            "date": self.date,
            "studio": self.studio,
            "performers": self.performers,
            "tags": self.tags,
        }
        return fields | ({"groups": (self.group,)} if self.group else {})


Row = tuple[str, str, str, str, str, str]


def _films(folder: str, studio: str, *rows: Row) -> tuple[Sample, ...]:
    """Build samples from rows of file, title, date, performers, tags and group."""
    return tuple(
        Sample(
            f"{folder}/{file}",
            title,
            date,
            studio,
            tuple(people.split(", ")),
            tuple(tags.split(", ")),
            group,
        )
        for file, title, date, people, tags, group in rows
    )


(FIRST,) = _films(
    "nature",
    "Northlight",
    (
        "heron_at_dawn.mp4",
        "A Heron at Dawn",
        "2019-04-12",
        "Mira Olsen",
        "Birds, River",
        "Waterlands",
    ),
)

#: Saved one by one, several at the same time.
SINGLES = _films(
    "nature",
    "Northlight",
    ("otter_brook.mp4", "Otter Brook", "2019-05-03", "Mira Olsen", "River, Mammals", "Waterlands"),
    (
        "the_reed_bed.mkv",
        "The Reed Bed",
        "2019-06-21",
        "Mira Olsen, Tomas Vale",
        "River",
        "Waterlands",
    ),
    ("storm_petrel.mp4", "Storm Petrel", "2020-02-14", "Tomas Vale", "Birds, Sea", ""),
) + _films(
    "city",
    "Harbour Pictures",
    (
        "last_tram.mp4",
        "Last Tram to Harbour Street",
        "2017-11-30",
        "Ines Duarte",
        "Night, City",
        "",
    ),
    ("café_lumière.mp4", "Café Lumière", "2018-03-08", "Zoë Laurent, Ines Duarte", "City", ""),
    ("IMG_2041.mp4", "", "2018", "Ines Duarte", "City", ""),
    ("rooftops.mkv", "Rooftops & Antennas", "2018-07-19", "Kofi Mensah", "City, Summer", ""),
    ("night_market.mp4", "Night Market", "2018-09-02", "Kofi Mensah", "Night, Food", ""),
)

#: Saved by the tagger in one request, each with its own input.
TAGGED = _films(
    "trains",
    "Slow Line",
    (
        "part_1.mp4",
        "North by Rail, Part 1",
        "2021-01-05",
        "Anna Berg",
        "Trains, Snow",
        "North by Rail",
    ),
    (
        "part_2.mp4",
        "North by Rail, Part 2",
        "2021-01-12",
        "Anna Berg",
        "Trains, Snow",
        "North by Rail",
    ),
    (
        "part_3.mp4",
        "North by Rail, Part 3",
        "2021-01-19",
        "Anna Berg",
        "Trains, Sea",
        "North by Rail",
    ),
    ("branch_line.mp4", "The Branch Line", "2021-03-30", "Jonah Reed", "Trains", ""),
    ("turntable.mp4", "Turntable", "2021-04", "Jonah Reed, Anna Berg", "Trains, Workshop", ""),
)

#: Saved while Plex is down.
DURING_OUTAGE = _films(
    "craft",
    "Handwork",
    ("blue_glaze.mp4", "Blue Glaze", "2022-02-11", "Sora Ito", "Pottery, Workshop", ""),
    (
        "the_bell_founder.mp4",
        "The Bell Founder",
        "2022-02-25",
        "Pavel Novak",
        "Metal, Workshop",
        "",
    ),
    ("willow.mp4", "Willow", "2022-03-04", "Sora Ito, Pavel Novak", "Baskets", ""),
    (
        "a_boat_in_june.mkv",
        "A Boat in June",
        "2022-06-10",
        "Lena Fisk",
        "Boats, Summer",
        "Boatyard",
    ),
    ("caulking.mkv", "Caulking", "2022-06-17", "Lena Fisk", "Boats", "Boatyard"),
    (
        "launch_day.mkv",
        "Launch Day",
        "2022-06-24",
        "Lena Fisk, Tomas Vale",
        "Boats, Sea",
        "Boatyard",
    ),
    ("letterpress.mp4", "Letterpress", "2022-10-01", "Ines Duarte", "Paper, Workshop", ""),
    ("one_good_knife.mp4", "One Good Knife", "2022-11-11", "Pavel Novak", "Metal", ""),
)

#: In two Plex libraries: the folder of one lies inside the folder of the other.
(TWIN,) = _films(
    "family", "Home", ("the_kite.mp4", "The Kite", "2016-10-09", "Lena Fisk", "Family, Wind", "")
)
#: Plex scans its file only later.
(UNSCANNED,) = _films(
    "new", "Northlight", ("first_snow.mp4", "First Snow", "2024-01-06", "Mira Olsen", "Snow", "")
)

#: Saved just before the worker is killed; the next sample is saved after that.
*BEFORE_KILL, AFTER_KILL = _films(
    "sea",
    "Northlight",
    ("lighthouse.mp4", "The Lighthouse Keeper", "2023-05-05", "Tomas Vale", "Sea, Night", ""),
    ("low_tide.mp4", "Low Tide", "2023-05-12", "Mira Olsen", "Sea, Birds", ""),
    ("salt.mp4", "Salt", "2023-05-19", "Zoë Laurent", "Sea, Food", ""),
    ("ferry_7.mp4", "Ferry No. 7", "2023-05-26", "Kofi Mensah", "Sea, Boats", ""),
    ("harbour_seal.mkv", "Harbour Seal", "2023-05-30", "Mira Olsen", "Sea, Mammals", ""),
    ("fog_signal.mp4", "Fog Signal", "2023-06-02", "Jonah Reed", "Sea, Night", ""),
)

ALL = (FIRST, *SINGLES, *TAGGED, *DURING_OUTAGE, TWIN, UNSCANNED, *BEFORE_KILL, AFTER_KILL)
