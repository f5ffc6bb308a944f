r"""Paths from different systems are equal exactly if they mean the same file."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plex.paths import folded, map_path, name_of, normalize, shared_folders, stem_of
from tests.plex.support import PROPERTY

SAME = [
    (r"D:\v\a.mp4", "D:/v/a.mp4"),
    (r"D:\v\a.mp4", r"d:\v\a.mp4"),
    (r"D:\v\a.mp4", r"\\?\D:\v\a.mp4"),
    (r"\\server\share\v\a.mp4", r"\\?\UNC\server\share\v\a.mp4"),
    (r"\\server\share\v\a.mp4", r"\\?\unc\server\share\v\a.mp4"),
    (r"\\server\share\v\a.mp4", "//server/share/v/a.mp4"),
    ("/v/Café.mp4", unicodedata.normalize("NFD", "/v/Café.mp4")),
    ("D:\\v\\Café.mp4", unicodedata.normalize("NFD", "d:/v/Café.mp4")),
    ("/v/한국.mp4", unicodedata.normalize("NFD", "/v/한국.mp4")),
]
DIFFERENT = [
    ("/v/a.mp4", "/v/A.mp4"),
    ("/v/a.mp4", "/V/a.mp4"),
    ("/v/a.mp4", "/v/a.mp4 "),
    ("/v/ a.mp4", "/v/a.mp4"),
    ("/v/a\\b.mp4", "/v/a/b.mp4"),
    (r"C:\v\a.mp4", r"D:\v\a.mp4"),
    (r"\\one\share\a.mp4", r"\\two\share\a.mp4"),
    ("/v/100%.mp4", "/v/100%25.mp4"),
    ("/v/a+b.mp4", "/v/a b.mp4"),
    ("/v/ß.mp4", "/v/ss.mp4"),
    ("/v/ﬁ.mp4", "/v/fi.mp4"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_ways_to_write_one_path_are_the_same(one: str, other: str) -> None:
    assert normalize(one) == normalize(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_paths_stay_different(one: str, other: str) -> None:
    assert normalize(one) != normalize(other)


MAPPED = [
    # plain, trailing slashes on either side
    ("/data/a/b.mp4", [("/data", "/media")], "/media/a/b.mp4"),
    ("/data/a/b.mp4", [("/data/", "/media")], "/media/a/b.mp4"),
    ("/data/a/b.mp4", [("/data", "/media/")], "/media/a/b.mp4"),
    ("/data/a/b.mp4", [("/data//", "/media//")], "/media/a/b.mp4"),
    ("/data/b.mp4", [("/data", "/media/x/y")], "/media/x/y/b.mp4"),
    # the longest prefix wins, in whatever order
    ("/data/a/b.mp4", [("/data", "/one"), ("/data/a", "/two")], "/two/b.mp4"),
    ("/data/a/b.mp4", [("/data/a", "/two"), ("/data", "/one")], "/two/b.mp4"),
    ("/data/a/b.mp4", [("/data/a/", "/two"), ("/data", "/one")], "/two/b.mp4"),
    ("/data/a/b.mp4", [("/", "/root"), ("/data", "/one")], "/one/a/b.mp4"),
    # the root
    ("/data/b.mp4", [("/", "/plex")], "/plex/data/b.mp4"),
    ("/data/b.mp4", [("/data", "/")], "/b.mp4"),
    ("/data/b.mp4", [("/", "D:\\")], "d:/data/b.mp4"),
    # Windows, POSIX and UNC on either side
    (r"D:\v\a.mp4", [("D:\\v", "/media/v")], "/media/v/a.mp4"),
    (r"D:\v\a.mp4", [("d:\\v\\", "/media/v")], "/media/v/a.mp4"),
    (r"D:\v\a.mp4", [("D:/v", "/media/v")], "/media/v/a.mp4"),
    (r"D:\v\a.mp4", [("D:\\", "/media")], "/media/v/a.mp4"),
    (r"D:\v\a.mp4", [("D:", "/media")], "/media/v/a.mp4"),
    (r"\\?\D:\v\a.mp4", [("D:\\v", "/media/v")], "/media/v/a.mp4"),
    ("/data/a/b.mp4", [("/data", "D:\\media")], "d:/media/a/b.mp4"),
    (r"\\nas\scenes\a\b.mp4", [(r"\\nas\scenes", "/media")], "/media/a/b.mp4"),
    (r"\\nas\scenes\a\b.mp4", [("//nas/scenes", "/media")], "/media/a/b.mp4"),
    ("/data/b.mp4", [("/data", r"\\nas\scenes")], "//nas/scenes/b.mp4"),
    ("/data/b.mp4", [("/data", r"\\?\UNC\nas\scenes")], "//nas/scenes/b.mp4"),
    # Unicode
    (unicodedata.normalize("NFD", "/é/b.mp4"), [("/é", "/media")], "/media/b.mp4"),
    ("/é/b.mp4", [(unicodedata.normalize("NFD", "/é"), "/media")], "/media/b.mp4"),
    # names that look like patterns
    ("/d.ta/[x] 100%/b.mp4", [("/d.ta/[x] 100%", "/m\\1")], "/m\\1/b.mp4"),
]
UNMAPPED = [
    ("/database/b.mp4", [("/data", "/media")]),
    ("/dat", [("/data", "/media")]),
    ("/x/data/b.mp4", [("/data", "/media")]),
    ("/Data/b.mp4", [("/data", "/media")]),
    ("D:/vv/b.mp4", [("D:/v", "/media")]),
    (r"\\nas\scenes2\b.mp4", [(r"\\nas\scenes", "/media")]),
    ("/data/b.mp4", []),
]


@pytest.mark.parametrize(("path", "mappings", "expected"), MAPPED)
def test_the_longest_prefix_of_whole_folders_is_replaced(
    path: str, mappings: list[tuple[str, str]], expected: str
) -> None:
    assert map_path(path, mappings) == (expected, True)


@pytest.mark.parametrize(("path", "mappings"), UNMAPPED)
def test_a_prefix_that_ends_inside_a_folder_name_does_not_count(
    path: str, mappings: list[tuple[str, str]]
) -> None:
    assert map_path(path, mappings) == (normalize(path), False)


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("/v/One.mp4", "One"),
        (r"D:\v\One.Two.mkv", "One.Two"),
        ("/v/.hidden", ".hidden"),
        ("/v/no suffix", "no suffix"),
        (r"\\nas\v\One.mp4", "One"),
        ("/v/100% [x].mp4", "100% [x]"),
        ("One.mp4", "One"),
    ],
)
def test_the_stem_of_any_path(path: str, stem: str) -> None:
    assert stem_of(path) == stem


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ("/data/a/b/1.mp4", "/media/a/b/1.mp4", 2),
        ("/data/a/b/1.mp4", "/media/x/b/1.mp4", 1),
        ("/data/a/b/1.mp4", "/media/a/x/1.mp4", 0),
        ("/a/b/1.mp4", "/a/b/1.mp4", 2),
        ("d:/a/b/1.mp4", "/media/A/B/1.mp4", 2),
        ("/1.mp4", "/1.mp4", 0),
        ("1.mp4", "/a/1.mp4", 0),
        ("//nas/s/a/1.mp4", "/x/s/a/1.mp4", 2),
    ],
)
def test_shared_folders_are_counted_from_the_file_up(one: str, other: str, count: int) -> None:
    assert shared_folders(one, other) == count
    assert shared_folders(other, one) == count


@pytest.mark.parametrize(
    ("one", "other"), [("A.MP4", "a.mp4"), ("É.mp4", "é.mp4"), ("ΣΑΣ.mp4", "σας.mp4")]
)
def test_names_are_folded_alike(one: str, other: str) -> None:
    assert folded(one) == folded(other)


NAMES = st.text(
    st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name.strip("."))
FOLDERS = st.lists(NAMES, min_size=0, max_size=4)


def _posix(parts: list[str]) -> str:
    return "/" + "/".join(parts)


@PROPERTY
@given(st.text(max_size=40))
def test_a_normal_path_is_its_own_normal_form(path: str) -> None:
    assert normalize(normalize(path)) == normalize(path)


@PROPERTY
@given(FOLDERS, NAMES)
def test_windows_and_posix_spellings_of_one_file_map_to_one_place(
    folders: list[str], name: str
) -> None:
    posix = map_path(_posix(["data", *folders, name]), [("/data", "/m")])
    windows = map_path("D:\\data\\" + "\\".join([*folders, name]), [("D:\\data", "/m")])
    long_form = map_path("\\\\?\\D:\\data\\" + "\\".join([*folders, name]), [("D:\\data\\", "/m/")])
    assert posix == windows == long_form


@PROPERTY
@given(FOLDERS, FOLDERS, NAMES, st.sampled_from(["NFC", "NFD"]), st.sampled_from(["", "/", "//"]))
def test_a_mapping_keeps_everything_below_its_prefix(
    prefix: list[str], folders: list[str], name: str, form: str, slashes: str
) -> None:
    path = unicodedata.normalize(form, _posix([*prefix, *folders, name]))  # type: ignore[arg-type]
    mapped, applied = map_path(
        path, [(_posix(prefix).rstrip("/") + "/" + slashes, "/new" + slashes)]
    )
    assert applied
    assert mapped == normalize(_posix(["new", *folders, name]))


@PROPERTY
@given(
    FOLDERS, NAMES, st.permutations([("/", "/0"), ("/a", "/1"), ("/a/b", "/2"), ("/a/b/c", "/3")])
)
def test_the_order_of_mappings_does_not_matter(
    folders: list[str], name: str, mappings: list[tuple[str, str]]
) -> None:
    for depth, prefix in enumerate(([], ["a"], ["a", "b"], ["a", "b", "c"])):
        path = _posix([*prefix, "x", *folders, name])
        assert map_path(path, mappings)[0] == normalize(_posix([str(depth), "x", *folders, name]))


@PROPERTY
@given(FOLDERS, NAMES)
def test_the_name_of_a_path_is_its_last_part(folders: list[str], name: str) -> None:
    assert name_of(normalize(_posix([*folders, name]))) == unicodedata.normalize("NFC", name)
