"""Plex's events: what they are about is compared within seconds, and they never do harm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from common.env import Timing
from history.records import Status
from plex.events import DELETED, PROCESSED
from tests.harness.base import TOKEN
from tests.harness.clock import HOUR, FakeClock
from tests.harness.in_process import WorkerHarness
from tests.harness.processes import wait_until
from tests.simulators.httpd import Answer, Response
from tests.simulators.plex import PlexItem, PlexSimulator
from tests.simulators.stash import Scene
from worker.reconcile.approval import HELD
from worker.reconcile.events import MOST_READ
from worker.reconcile.quick import RAN_AT
from worker.state import load_state

#: Longer than events rest, and much shorter than any retry or pass.
REST = 3.0
PATH = "/:/eventsource"


@pytest.fixture
def plex(clock: FakeClock) -> Iterator[PlexSimulator]:
    """Return a Plex that lives by the fake clock: `updatedAt` has whole seconds."""
    with PlexSimulator(token=TOKEN, clock=clock.time, scan_delay=0.01) as simulator:
        yield simulator
        assert simulator.server.errors == []


@pytest.fixture
def following(harness: WorkerHarness) -> Iterator[WorkerHarness]:
    """Return a harness whose worker is connected to Plex's events, and has looked at all."""
    timing = harness.clock.timing
    harness.clock.timing = replace(
        timing, stream_lost=0.001, stream_lost_latest=0.01, stream_refused=0.001,
        stream_refused_latest=0.01,
    )  # fmt: skip
    harness.configure(plex_events=True)
    harness.new_worker(compares=True)
    connect(harness)
    yield harness
    harness.worker.listener.stop()


def connect(harness: WorkerHarness) -> None:
    """Run the worker until it is connected, and has done its quick pass."""
    harness.run_for(1)
    wait_for_connection(harness)
    harness.run_for(60)


def wait_for_connection(harness: WorkerHarness) -> None:
    listener = harness.worker.listener
    wait_until(lambda: (listener.to_dict() or {}).get("connected"), listener.to_dict)


def synced(harness: WorkerHarness, name: str = "a", **fields: Any) -> tuple[Scene, PlexItem]:
    """Return a scene that was synced, and whose write was read back."""
    scene, item = harness.pair(name, **fields)
    harness.edit(scene, f"Synced {name}")
    run(harness, 60)
    assert item.title == f"Synced {name}"
    return scene, item


def hear(harness: WorkerHarness) -> None:
    """Wait until the worker has received all that Plex has sent."""
    events, listener = harness.plex.events, harness.worker.listener
    wait_until(lambda: listener.received >= events.sent, lambda: (events.sent, listener.received))


def run(harness: WorkerHarness, seconds: float = REST) -> None:
    """Run the worker; then again, with what Plex has told of it."""
    for _ in range(2):
        hear(harness)
        harness.run_for(seconds)
    hear(harness)


def refresh(harness: WorkerHarness, item: PlexItem) -> None:
    """Have Plex re-read an item a second later, with all its fields unlocked."""
    harness.clock.advance(2)
    item.locked.clear()
    harness.plex.refresh_item(item.rating_key)


def requests(harness: WorkerHarness) -> list[str]:
    """Return the paths of the requests to Plex."""
    return [exchange.request.path for exchange in harness.plex.log.all()]


# --- what an event does


def test_what_may_hide_an_item_comes_back_after_each_refresh(following: WorkerHarness) -> None:
    following.configure(plex_events=True, content_rating="XXX", lock_fields=False)
    _, item = synced(following)
    refresh(following, item)
    run(following)
    assert item.values.get("contentRating") == "XXX"
    refresh(following, item)
    run(following)
    assert item.values.get("contentRating") != "XXX", "repaired just now"
    run(following, 150)  # and no other look is due
    assert item.values.get("contentRating") == "XXX"


def test_what_a_refresh_overwrote_comes_back_within_seconds(following: WorkerHarness) -> None:
    _, item = synced(following)
    refresh(following, item)
    assert item.title == "a"
    run(following)
    assert item.title == "Synced a"


@pytest.mark.parametrize("form", ["plain", "wrapped", "single", "text", "until close"])
def test_each_form_of_a_message_is_understood(harness: WorkerHarness, form: str) -> None:
    events = harness.plex.events
    events.is_wrapped = form == "wrapped"
    events.is_single = form == "single"
    events.has_text_numbers = form == "text"
    events.chunked = form != "until close"
    harness.configure(plex_events=True)
    harness.new_worker(compares=True)
    connect(harness)
    _, item = synced(harness)
    refresh(harness, item)
    run(harness)
    assert item.title == "Synced a"


def test_our_own_edits_echo_costs_no_request_but_the_read_back(following: WorkerHarness) -> None:
    scene, item = synced(following)
    following.clock.advance(100)
    following.run_for(1)
    following.edit(scene, "Once more")
    following.plex.log.clear()
    run(following, 30)
    assert item.title == "Once more"
    read = [path for path in requests(following) if path.startswith("/library/metadata/")]
    assert len(read) == 2, "before the write, and back"


def test_an_event_about_what_is_known_costs_no_request(following: WorkerHarness) -> None:
    _, item = synced(following)
    following.plex.log.clear()
    following.plex.events.tell(item, PROCESSED)
    run(following)
    assert requests(following) == []


@pytest.mark.parametrize(
    "what",
    [
        {"section": 77},
        {"kind": 2},
        {"identifier": "com.plexapp.plugins.itunes"},
        {"state": 4},
        {"state": 0},
    ],
    ids=str,
)
def test_other_events_cost_no_request(following: WorkerHarness, what: dict[str, Any]) -> None:
    _, item = synced(following)
    following.plex.log.clear()
    about = {"section": following.library.key, "item": item.rating_key, "updated_at": 5, **what}
    following.plex.events.send_timeline(**about)
    following.plex.events.send("playing", {"PlaySessionStateNotification": [{"ratingKey": "1"}]})
    following.plex.events.send_activity()
    following.plex.events.send_timeline(following.library.key, item.rating_key, 0)
    wait_until(lambda: following.worker.listener.received)
    following.run_for(20)
    assert requests(following) == []


def test_a_hint_is_taken_when_nothing_further_comes(following: WorkerHarness) -> None:
    """A library without an agent ends at state 1."""
    scene = following.add_scene("late")
    following.edit(scene, "Late")
    run(following)
    assert following.waiting() == 1
    following.plex.add_file("/media/late.mp4", 100)
    following.plex.scan(following.library)
    assert following.plex.settle()
    run(following, 11)
    assert following.title(scene) == "Late"


def test_a_new_file_is_synced_without_a_retry(following: WorkerHarness) -> None:
    following.library.agent = "tv.plex.agents.movie"
    following.configure(plex_events=True, trigger_plex_scan=True, poll_interval=1)
    following.clock.advance(10)  # settings are read again
    following.plex.add_file("/media/late.mp4", 100)
    scene = following.add_scene("late")
    following.edit(scene, "Late")
    before = following.clock.now
    following.run_for(0.2)
    assert following.plex.log.count(path=r"/library/sections/\d+/refresh") == 1
    assert following.plex.settle()
    hear(following)
    following.run_for(2)
    assert following.title(scene) == "Late"
    assert following.clock.now - before < 5, "the first retry is due after thirty seconds"


def test_a_second_new_file_in_a_folder_is_scanned_for(following: WorkerHarness) -> None:
    following.library.agent = "tv.plex.agents.movie"
    following.configure(plex_events=True, trigger_plex_scan=True)
    following.clock.advance(10)
    scenes = []
    for name in ("one", "two"):
        following.plex.add_file(f"/media/{name}.mp4", 100)
        scenes.append(following.add_scene(name))
        following.edit(scenes[-1], f"New {name}")
        following.run_for(12)
        assert following.plex.settle()
        hear(following)
        following.run_for(2)
    assert [following.title(scene) for scene in scenes] == ["New one", "New two"]
    assert following.plex.log.count(path=r"/library/sections/\d+/refresh") == 2


def test_many_new_files_of_a_folder_cost_few_scans(following: WorkerHarness) -> None:
    following.configure(plex_events=True, trigger_plex_scan=True)
    following.clock.advance(10)
    for number in range(20):
        following.edit(following.add_scene(f"new{number}"), f"New {number}")
    following.run_for(60)
    assert following.plex.log.count(path=r"/library/sections/\d+/refresh") == 2


def test_a_failed_scene_is_synced_when_its_file_appears(following: WorkerHarness) -> None:
    scene = following.add_scene("late")
    following.edit(scene, "Late")
    following.run_for(3 * 3600)
    assert len(following.letters()) == 1
    hear(following)
    item = following.add_item("late")
    run(following)
    assert (item.title, following.letters()) == ("Late", [])


@pytest.mark.parametrize(
    "answer",
    [Answer(404), Answer(200, b'<MediaContainer size="0"/>', {"Content-Type": "text/xml"})],
    ids=["404", "empty"],
)
def test_an_item_that_plex_does_not_show_once_gives_its_scene_no_other_item(
    following: WorkerHarness, answer: Answer
) -> None:
    """There is another file of that name and size, which no scene has; the index is fresh."""
    following.clock.timing = replace(following.clock.timing, name_fresh=HOUR, index_fresh=HOUR)
    scene, item = synced(following, "x/clip")
    for number in range(6):
        following.add_item(f"more{number}")
    other = following.add_item("y/clip")
    run(following)
    path = f"/library/metadata/{item.rating_key}"
    rule = following.plex.faults.add(answer, method="GET", path=f"{path}$")
    entry = {
        "identifier": "com.plexapp.plugins.library", "sectionID": str(following.library.key),
        "itemID": str(item.rating_key), "type": 1, "title": "x", "state": 5,
    }  # fmt: skip
    following.plex.events.send_entries([entry])
    run(following)
    assert following.plex.log.count(path=path) > 0
    rule.remove()
    following.edit(scene, details="Later")
    following.run_for(120)
    assert (item.summary, other.summary, other.title) == ("Later", "", "clip")


def test_an_item_under_another_key_gets_its_fields_again(following: WorkerHarness) -> None:
    synced(following, "other")
    scene, _ = synced(following)
    following.clock.advance(1)
    new = following.plex.replace_item("/media/a.mp4")
    run(following)
    assert new.title == "Synced a"
    assert [row.rating_key for row in following.worker.history.of_scene(scene.id)] == [
        new.rating_key
    ]


def test_a_deleted_item_is_forgotten_by_the_index_alone(following: WorkerHarness) -> None:
    scene, item = synced(following)
    synced(following, "other")
    writes = len(following.plex.writes)
    following.plex.remove_item(item.rating_key)
    run(following)
    assert following.worker.index.updated_at([item.rating_key]) == {}
    (row,) = following.worker.history.of_scene(scene.id)
    assert (row.status, row.rating_key) == (Status.IN_SYNC, item.rating_key)
    assert len(following.plex.writes) == writes


def test_an_item_that_is_said_to_be_deleted_and_is_there_stays(following: WorkerHarness) -> None:
    _, item = synced(following)
    following.plex.events.tell(item, DELETED)
    run(following)
    assert item.rating_key in following.worker.index.updated_at([item.rating_key])


def test_most_items_of_a_library_at_once_are_not_forgotten(following: WorkerHarness) -> None:
    """Plex shows a short library for a while when a disk is not mounted."""
    items = [synced(following, name)[1] for name in "abc"]
    for item in items:
        following.plex.remove_item(item.rating_key)
    run(following)
    keys = [item.rating_key for item in items]
    assert set(following.worker.index.updated_at(keys)) == set(keys)
    assert not following.worker.index.is_complete([following.library.key])


def test_a_persons_edit_in_plex_is_kept(following: WorkerHarness) -> None:
    _, item = synced(following)
    following.clock.advance(1)
    following.plex.person_sets(item.rating_key, "title", "By hand")
    run(following)
    assert item.title == "By hand"


def test_while_paused_nothing_is_read_and_nothing_is_lost(following: WorkerHarness) -> None:
    _, item = synced(following)
    following.command("pause", on=True)
    refresh(following, item)
    following.plex.log.clear()
    run(following)
    assert (requests(following), item.title) == ([], "a")
    following.command("pause", on=False)
    run(following)
    assert item.title == "Synced a"


# --- storms


def test_a_storm_costs_listings_not_reads_of_items(following: WorkerHarness) -> None:
    pairs = [following.pair(f"s{number:04}") for number in range(MOST_READ + 50)]
    run(following, 60)
    following.plex.log.clear()
    following.clock.advance(700)
    following.run_for(1)
    following.plex.log.clear()
    for _, item in pairs:
        following.plex.refresh_item(item.rating_key)
    hear(following)
    following.run_for(1.5)
    assert [path for path in requests(following) if "/library/metadata/" in path] == []
    following.run_for(10)
    listed = following.plex.log.count(path=r"/library/sections/\d+/all")
    assert 1 <= listed <= 4


def test_more_items_than_are_kept_use_no_more_memory(following: WorkerHarness) -> None:
    listener = following.worker.listener
    entries = [
        following.plex.events.entry(following.library.key, 10_000 + number, PROCESSED, 5)
        for number in range(20_000)
    ]
    for start in range(0, len(entries), 100):
        following.plex.events.send_entries(entries[start : start + 100])
    hear(following)
    heard = listener.take()
    assert heard.is_many
    assert len(heard.items) + len(heard.hints) <= 2_000
    assert following.waiting() == 0


def test_a_library_that_changes_bit_by_bit_waits_for_the_user(following: WorkerHarness) -> None:
    pairs = [following.pair(f"s{number:04}") for number in range(2 * MOST_READ + 40)]
    for number, (scene, _) in enumerate(pairs):
        following.edit(scene, f"Synced {number}")
    run(following, 120)
    writes = len(following.plex.writes)
    some = [(pairs[start : start + 20], 2.0) for start in range(0, MOST_READ, 20)]
    some += [(pairs[start : start + 10], 4.0) for start in range(MOST_READ, len(pairs), 10)]
    for chosen, pause in some:
        for _, item in chosen:
            item.locked.clear()
            following.plex.refresh_item(item.rating_key)
        hear(following)
        following.run_for(pause)
    following.run_for(120)
    assert 0 < len(following.plex.writes) - writes <= MOST_READ
    held = following.worker.history.get(HELD)
    assert held["count"] == len(pairs) - (len(following.plex.writes) - writes)


# --- connections


def test_what_happened_without_a_connection_is_found_after_the_next(
    following: WorkerHarness,
) -> None:
    _, item = synced(following)
    following.plex.events.refusal = Response(503)
    following.plex.events.drop_all()
    listener = following.worker.listener
    wait_until(lambda: not listener.to_dict()["connected"])  # type: ignore[index]
    refresh(following, item)
    following.run_for(REST)
    assert item.title == "a"
    following.plex.events.refusal = None
    wait_for_connection(following)
    following.run_for(REST)
    assert item.title == "Synced a"


@pytest.mark.parametrize("how", ["nothing is sent", "all events are lost"])
def test_what_no_event_tells_of_is_found_by_a_pass(following: WorkerHarness, how: str) -> None:
    _, item = synced(following)
    if how == "nothing is sent":
        following.plex.events.is_silent = True
    else:
        following.plex.events.lose_every = 1
    following.clock.advance(2)
    item.locked.clear()
    following.plex.refresh_item(item.rating_key)
    following.run_for(REST)
    assert item.title == "a"
    following.run_for(Timing().quiet_pass + 60)
    assert item.title == "Synced a"


def test_plex_may_restart_in_the_middle(following: WorkerHarness) -> None:
    scene, item = synced(following)
    following.plex.stop()
    following.edit(scene, "While Plex is down")
    following.run_for(100)
    following.plex.start()
    wait_for_connection(following)
    following.run_for(200)
    assert item.title == "While Plex is down"
    refresh(following, item)
    run(following)
    assert item.title == "While Plex is down"
    assert following.waiting() == 0


@pytest.mark.parametrize(
    "answer",
    [
        Response(404),
        Response(401),
        Response(302, headers={"Location": "http://127.0.0.1:1/"}),
        Response(200, b"<html>A proxy</html>", {"Content-Type": "text/html"}),
        Response(502, b"<html>Bad gateway</html>"),
    ],
    ids=lambda answer: str(answer.status),
)
def test_without_a_stream_all_else_goes_on(harness: WorkerHarness, answer: Response) -> None:
    harness.plex.events.refusal = answer
    harness.configure(plex_events=True)
    harness.new_worker(compares=True)
    harness.run_for(5)
    wait_until(lambda: "connecting" not in str(harness.worker.listener.to_dict()))
    scene, item = harness.pair()
    harness.edit(scene, "Synced")
    harness.run_for(60)
    state = load_state(str(harness.data_dir))
    assert item.title == "Synced"
    assert (state["plex"], state["problem"]) == ("closed", None)
    assert state["events"]["connected"] is False
    assert str(answer.status) in state["events"]["problem"] or answer.status == 200
    assert harness.notices() == []


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\x00garbage\n\n" * 100,
        b"data: " + b"x" * 1_000_000,
        b'event: timeline\ndata: {"TimelineEntry": [{]\n\n',
        b"event: timeline\ndata: " + b"[" * 60_000 + b"\n\n",
        b"event: timeline\n",
    ],
    ids=["garbage", "a megabyte without an end", "half JSON", "deep", "half a frame"],
)
def test_garbage_does_no_harm(following: WorkerHarness, content: bytes) -> None:
    _, item = synced(following)
    following.plex.events.send_bytes(content)
    following.plex.events.send_bytes(b"\n\n")
    refresh(following, item)
    run(following)
    assert item.title == "Synced a"


def test_the_keys_of_another_server_are_not_read(following: WorkerHarness) -> None:
    """Another Plex at the same address: its rating keys mean other items."""
    for name in "ab":
        synced(following, name)
    following.plex.events.drop_all()
    items = following.plex.rebuild(machine_identifier="f" * 40)
    wait_until(lambda: following.worker.listener.server == "f" * 40)
    wait_until(lambda: following.plex.events.streams == 1)
    for item in items.values():
        following.plex.touch_item(item.rating_key)
    hear(following)
    following.clock.advance(10)  # these events are due before anything else
    following.plex.log.clear()
    run(following)
    assert following.worker.plex.server == "f" * 40
    first = next(path for path in requests(following) if not path.startswith("/:/"))
    assert first == "/", "which server it is comes first"


def test_an_item_that_can_not_be_read_is_no_outage(following: WorkerHarness) -> None:
    _, item = synced(following)
    following.plex.faults.add(Answer(500), path=r"/library/metadata/", times=1)
    refresh(following, item)
    run(following, 100)
    assert item.title == "Synced a", "by the quick pass that follows"
    assert following.worker.health.plex.failures == 0


def test_switched_off_it_listens_to_nothing(following: WorkerHarness) -> None:
    following.configure(plex_events=False)
    following.run_for(2 * HOUR)  # the settings are read by the next quick pass, at the latest
    wait_until(lambda: following.plex.events.streams == 0)
    assert following.worker.listener.to_dict() is None
    assert load_state(str(following.data_dir))["events"] is None


def test_another_token_connects_anew(following: WorkerHarness) -> None:
    following.plex.valid_tokens.add("another-token-0123456789")
    following.configure(plex_events=True, plex_token="another-token-0123456789")
    following.run_for(2 * HOUR)
    wait_for_connection(following)
    streams = following.plex.log.matching(path="/:/eventsource")
    tokens = [one.request.headers.get("X-Plex-Token") for one in streams]
    assert tokens[-1] == "another-token-0123456789"
    assert all("oken" not in one.request.target for one in streams)


def test_nothing_is_written_while_nothing_changes(following: WorkerHarness) -> None:
    file = following.data_dir / "worker_state.json"
    seen: list[int] = []
    for seconds in (1, 299):
        following.clock.after(seconds, lambda: seen.append(file.stat().st_mtime_ns))
    following.run_for(300)
    assert seen[0] == seen[1]


def test_while_plex_tells_of_its_changes_a_quick_pass_is_seldom(following: WorkerHarness) -> None:
    following.run_for(700)
    ran_at = following.worker.history.get(RAN_AT)
    following.run_for(1_800)
    assert following.worker.history.get(RAN_AT) == ran_at
    synced(following)
    following.run_for(700)
    assert following.worker.history.get(RAN_AT) > ran_at


def test_a_proxy_that_ends_each_silent_stream_costs_few_quick_passes(
    following: WorkerHarness,
) -> None:
    """As nginx does after a minute; each look would wake disks that sleep."""
    ran: set[float] = set()
    for _ in range(60):
        before = following.plex.log.count(path=PATH)
        following.plex.events.drop_all()
        wait_until(lambda: following.plex.log.count(path=PATH) > before)  # noqa: B023 - at once
        wait_for_connection(following)
        following.run_for(60)
        ran.add(following.worker.history.get(RAN_AT))
    assert len(ran) <= 10


def test_a_scan_that_fails_when_its_turn_comes_is_asked_for_again(
    following: WorkerHarness,
) -> None:
    following.library.agent = "tv.plex.agents.movie"
    following.configure(plex_events=True, trigger_plex_scan=True)
    following.clock.advance(10)
    following.edit(following.add_scene("one"), "New one")
    following.run_for(1)
    following.plex.faults.add(Answer(500), path=r"/library/sections/\d+/refresh")
    following.plex.add_file("/media/two.mp4", 100)
    scene = following.add_scene("two")
    following.edit(scene, "New two")
    following.run_for(15)
    following.plex.faults.clear()
    following.run_for(60)
    assert following.plex.settle()
    hear(following)
    following.run_for(REST)
    assert following.title(scene) == "New two"
