"""The differing prefixes of two paths of one file: as a mapping they make the paths equal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plex.paths import map_path, normalize
from tasks.check import differing_prefixes
from validation.config import validate_config

PAIRS = {
    "two mounts": ("/data/a/b.mp4", "/media/a/b.mp4", ("/data", "/media")),
    "one is deeper": ("/data/a/b.mp4", "/mnt/disk/videos/a/b.mp4", ("/data", "/mnt/disk/videos")),
    "the root of one": ("/a/b.mp4", "/media/a/b.mp4", ("/", "/media")),
    "the root of the other": ("/data/a/b.mp4", "/a/b.mp4", ("/data", "/")),
    "a drive": ("D:\\videos\\b.mp4", "/media/videos/b.mp4", ("d:", "/media")),
    "another folder's name": ("/data/x/b.mp4", "/data/y/b.mp4", ("/data/x", "/data/y")),
    "a network share": ("/data/b.mp4", "\\\\nas\\films\\b.mp4", ("/data", "//nas/films")),
}


@pytest.mark.parametrize("what", PAIRS)
def test_the_prefixes_are_those_that_differ(what: str) -> None:
    ours, theirs, expected = PAIRS[what]
    assert differing_prefixes(ours, theirs) == expected


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("/data/a.mp4", "/data/a.mp4"),
        ("/data/a.mp4", "/media/b.mp4"),
        ("/data/a.mp4", "/media/A.mp4"),
    ],
    ids=["the same path", "another name", "another case"],
)
def test_equal_paths_and_different_files_give_no_prefixes(ours: str, theirs: str) -> None:
    assert differing_prefixes(ours, theirs) is None


@pytest.mark.parametrize("what", PAIRS)
def test_entered_as_a_setting_the_pair_maps_one_path_to_the_other(what: str) -> None:
    ours, theirs, _ = PAIRS[what]
    pair = differing_prefixes(ours, theirs)
    assert pair is not None
    config, problem = validate_config(
        {
            "plex_url": "http://plex",
            "plex_token": "t" * 20,
            "path_mappings": f"{pair[0]} => {pair[1]}",
        }
    )
    assert config is not None, problem
    assert map_path(ours, config.path_mappings) == (normalize(theirs), True)


FOLDERS = st.lists(st.sampled_from(["a", "b", "data", "é", "e\u0301", "x y"]), max_size=4)


@given(ours=FOLDERS, theirs=FOLDERS, name=st.sampled_from(["f.mp4", "a", "ü.mkv"]))
def test_two_paths_of_one_file_name_are_equal_after_the_mapping(
    ours: list[str], theirs: list[str], name: str
) -> None:
    one, other = "/".join(["", *ours, name]), "/".join(["", *theirs, name])
    pair = differing_prefixes(one, other)
    if pair is None:
        assert normalize(one) == normalize(other)
    else:
        assert map_path(one, [pair]) == (normalize(other), True)
