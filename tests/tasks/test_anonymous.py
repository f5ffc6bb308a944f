"""An anonymous report has nothing of the library in it, in no encoding, and can still be read."""

from __future__ import annotations

import ast
import html
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plexapi.exceptions import BadRequest

from common.hook_times import summarize_hook_times
from common.redaction import Redactor
from common.sqlite import connect
from history.fields import FieldState
from history.records import Agreement, Status
from history.store import FILE as HISTORY
from history.store import History
from page.state import event_stream
from plex.exceptions import PlexNotFound, PlexPermanentError
from plex.index import FileIndex
from plex.matcher import AmbiguousMatch
from queue.dlq import DeadLetterQueue
from queue.models import create_sync_job
from stash.client import StashClient
from stash.connection import StashConnection
from tasks import anonymous
from tasks.context import Context
from tasks.report import report
from tasks.status import collect
from tests.harness.base import PLUGIN
from tests.plex.support import PROPERTY
from tests.simulators.stash import StashSimulator
from tests.simulators.stash.events import server_connection
from validation.metadata import SyncMetadata
from validation.rules import Rules, parse_conditions
from worker.alerts import PROBLEM
from worker.bootstrap import INDEX_FILE
from worker.config_provider import RULE_PROBLEMS
from worker.logfile import close_log, open_log
from worker.outages import OUTAGES
from worker.paused import set_paused
from worker.state import save_state

#: What the program puts together from words.
COMPOSED = re.compile(r"^(Plex|Stash) (is( down)?( at)?|fails)|^Worker ends: |^Scene ")
ROOT = Path(__file__).parents[2]
#: Shorter texts occur in any report by chance.
SHORTEST = 5
LIBRARY = (
    "Ann's Private Film",
    "it's one; and: two (2049)",
    'Zoë & <Ümit>: "Secret"',
    'Secret\nTraceback (most recent call last):\n  File "/x/Secret.py", line 3, in Secret',
    "2026-01-01 00:00:00,000 INFO    Secret Title",
    "%41nn%27s 100% Film",
    "/data/private-folder/sub dir/A Film.mp4",
    "\\\\nas\\private share\\A Film.mp4",
    "日本語のタイトル",
    "nas-of-ann.example.org",
    "192.168.77.5",
    "fe80::1234:5678",
)


@pytest.fixture(scope="module")
def stash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StashSimulator]:
    with StashSimulator(plugins_dir=tmp_path_factory.mktemp("plugins")) as stash:
        yield stash


def context_of(stash: StashSimulator, data_dir: Path) -> Context:
    connection = StashConnection(server_connection(port=stash.server.port))
    client = StashClient(lambda: connection)
    return Context(
        str(data_dir), "PlexSync.py", client, Redactor(), lambda *_: None, lambda *_: None, {}
    )


def fill(data_dir: Path, texts: Sequence[str]) -> None:
    """Leave files as a worker does that met these texts everywhere."""
    data_dir.mkdir(parents=True)
    with closing(connect(str(data_dir / HISTORY), any_thread=True)) as connection:
        history = History(connection)
        for number, text in enumerate(texts, 1):
            error = AmbiguousMatch(
                f"Scene {number} {text!r} may be any of 2 items, such as {text!r}",
                [{"rating_key": 1, "title": text, "path": text}],
            )
            status = (Status.AMBIGUOUS, Status.FAILED, Status.REFUSED)[number % 3]
            state = FieldState(before=text, ours=text, wanted=text, observed=text)
            history.save(
                Agreement(
                    number, status, str(error), path=text, created_at=text, updated_at=text,
                    fields={"title": state}, details=error.details, server=text,
                )
            )  # fmt: skip
            missing = f"/media/{text}/x.mp4"
            history.save(Agreement(number + 1000, Status.NOT_IN_PLEX, text, path=missing))
            history.save(Agreement(number + 2000, Status.SKIPPED, _left_out(text, number)))
        wrong = (f"labels is {text!r}: 'x'. The last valid one stays in effect" for text in texts)
        history.set(RULE_PROBLEMS, [*texts, *wrong])
    with closing(connect(str(data_dir / INDEX_FILE))) as connection:
        index = FileIndex(connection)
        for number, text in enumerate(texts):
            index._db.execute(
                "INSERT INTO files VALUES (?, 1, ?, ?, ?, 1, 1, 1, ?)",
                (number, text, text, text, number),
            )
    with closing(DeadLetterQueue(data_dir)) as dlq:
        for number, text in enumerate(texts, 1):
            dlq.add(create_sync_job(number, "metadata", {"title": text}), _error(text, number), 1)
    _log(data_dir, texts)
    save_state(str(data_dir), {"plex": "open", "stash": texts[0], "problem": f"{texts[-1]}."})


def _left_out(text: str, number: int) -> str:
    """Return the reason of a scene that a rule with a text leaves out."""
    kind = ("path", "performer")[number % 2]
    (nobody,) = parse_conditions("performer nobody")
    written = replace(nobody, text=f"{kind} {text}")
    fits_all = replace(written, terms=())
    rules = Rules(include=(written,)) if number % 3 == 0 else Rules(exclude=(fits_all,))
    return rules.why_left_out(SyncMetadata(scene_id=number)) or ""


def _error(text: str, number: int) -> Exception:
    errors: list[Exception] = [
        PlexNotFound(f"no Plex item has the file {text}"),
        PlexPermanentError(f"Plex answered 400 {text}"),
        BadRequest(f"(400) bad_request; http://{text}:32400/?title.value={quote(text)} {text}"),
        type(f"Error{number}", (ValueError,), {})(text),
    ]
    error = errors[number % len(errors)]
    try:
        raise error from KeyError(text)
    except Exception as raised:  # noqa: BLE001 - with its stack trace
        return raised


def _log(data_dir: Path, texts: Sequence[str]) -> None:
    handler = open_log(str(data_dir), Redactor())
    log = logging.getLogger("plexsync")
    try:
        for text in texts:
            log.info("Scene 7: wrote title, summary")
            log.info("Scene 7: wrote title, %s", text)
            log.info("Scene 7: no Plex item has the file %s; next attempt in 12 s", text)
            log.warning(
                "Plex is down at http://%s:32400: %s. Edits are kept, and synced", *[text] * 2
            )
            log.info("Plex fails (Plex answered 503 %s); trying again", quote_plus(text))
            log.info("%s", text)
            try:
                raise ValueError(text)
            except ValueError:
                log.exception("Unexpected error")
    finally:
        close_log(handler)
    with (data_dir / "worker.log").open("a", encoding="utf-8") as file:  # of an older version
        for text in texts:
            file.write(f"2026-01-01 00:00:00,000 INFO    {text}\n{text}\n")


def encodings(text: str) -> Iterator[str]:
    """Yield a text in every form in which a program may write it down."""
    once = {
        text, quote(text), quote(text, safe=""), quote_plus(text), json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], escape(text),
        html.escape(text), text.encode("ascii", "xmlcharrefreplace").decode(),
        quote(json.dumps(text)), escape(quote(text)), text.replace("\\", "/"),
    }  # fmt: skip
    for form in once:
        yield from (form, form.upper(), form.lower(), form.casefold())


def leaked(written: str, texts: Sequence[str], harmless: str) -> list[str]:
    """Return the forms of texts that are in a report, and not in one of an empty library."""
    words = [part for text in texts for part in (text, *text.splitlines())]
    forms = {form for word in words for form in encodings(word) if len(form) >= SHORTEST}
    lowered, known = written.casefold(), harmless.casefold()
    return [form for form in forms if form.casefold() in lowered and form.casefold() not in known]


def anonymous_report(stash: StashSimulator, data_dir: Path) -> str:
    found = report(context_of(stash, data_dir), {"anonymous": "true"})
    path = Path(found.data["path"])
    text = path.read_text(encoding="utf-8")
    path.unlink()
    return text


def configure(stash: StashSimulator, text: str) -> None:
    host = "".join(one for one in text if one.isascii() and one.isalnum()) or "plex"
    stash.set_plugin_settings(
        PLUGIN,
        {
            "plex_url": f"http://{host}.private:32400",
            "plex_token": "token-0123456789",
            "plex_libraries": text.replace(",", " "),
            "path_mappings": f"/data/{text} => /media/{text}",
        },
    )


@pytest.fixture(scope="module")
def harmless(stash: StashSimulator, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("harmless") / "data"
    fill(folder, ["x"])
    configure(stash, "x")
    return anonymous_report(stash, folder) + "\n".join(anonymous.SENTENCES)


def test_no_text_of_the_library_is_in_an_anonymous_report(
    stash: StashSimulator, tmp_path: Path, harmless: str
) -> None:
    fill(tmp_path / "data", LIBRARY)
    for number, text in enumerate(LIBRARY):
        configure(stash, text)
        written = anonymous_report(stash, tmp_path / "data")
        assert leaked(written, LIBRARY, harmless) == [], number
        assert ".private" not in written


@PROPERTY
@given(texts=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=4), data=st.data())
def test_no_text_at_all_passes_through_a_sentence(texts: list[str], data: st.DataObject) -> None:
    """Whatever stands in place of a text in a message of PlexSync, it is not in the report."""
    sentence = data.draw(st.sampled_from(anonymous.SENTENCES))
    marked = [f"q{text}z9x" for text in texts]
    message = sentence.replace("{number}", "7").replace("{names}", marked[0])
    shown = anonymous.allowed(message.replace("{text}", " ".join(marked)))
    assert "z9x" not in shown
    line = "\n".join(anonymous.log_lines([f"2026-01-01 00:00:00,000 INFO    {message}"]))
    assert "z9x" not in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Worker started", "Worker started"),
        ("Scene 7: wrote title, summary", "Scene 7: wrote title, summary"),
        ("Scene 7: wrote title, Secret", "Scene 7: wrote title, …"),
        (
            "Plex fails (Plex answered 503 bad_gateway); trying again",
            "Plex fails (Plex answered 503 …); trying again",
        ),
        (
            "Plex is down at http://nas:32400: Plex can't be reached (ConnectTimeout)."
            " Edits are kept, and synced when it is back",
            "Plex is down at …: Plex can't be reached (ConnectTimeout)."
            " Edits are kept, and synced when it is back",
        ),
        ("Scene 7: no Plex item has the file /a/b.mp4; next attempt in 12 s",
         "Scene 7: no Plex item has the file …; next attempt in 12 s"),
        ("plex_url is not set: enter it in Stash under Settings > Plugins > PlexSync",) * 2,
        (
            "labels is 'tag Ann': something. The last valid one stays in effect",
            "labels is …. The last valid one stays in effect",
        ),
        ("A title", "…"),
        ("", "…"),
        ("Worker started\n", "…"),
        ("x" * 20_000_000, "…"),
    ],
)  # fmt: skip
def test_a_sentence_of_plexsync_stays_readable(text: str, shown: str) -> None:
    assert anonymous.allowed(text) == shown


def test_a_report_says_where_it_went_wrong(
    stash: StashSimulator, tmp_path: Path, harmless: str
) -> None:
    fill(tmp_path / "data", ["A Film", "Another Film", "Third Film", "Fourth Film"])
    configure(stash, "A Film")
    written = anonymous_report(stash, tmp_path / "data")
    for part in (
        "plexapi ",
        "max_retries = 5",
        "plex_url: set",
        "plex_libraries: set, 1 of them",
        "ambiguous: Scene 3 … any of 2 items, such as … (1 candidates",
        "PlexNotFound: no Plex item has the file …",
        "PlexPermanentError: Plex answered 400 …",
        f"  {__name__}, line ",
        "INFO    Scene 7: wrote title, summary",
        '"waiting": 0',
        '"left out by your rule: …": 1,',
        '"left out by your rule: … (2)": 1,',
        '"left out: none of your rules includes it (…)": 1',
    ):
        assert part in written, part


def test_a_report_keeps_the_names_of_what_status_collects(
    stash: StashSimulator, tmp_path: Path
) -> None:
    """What a worker keeps as state, too: it is in *Status* under keys of its own."""
    data_dir = tmp_path / "data"
    fill(data_dir, ["A Film"])
    with closing(connect(str(data_dir / HISTORY), any_thread=True)) as connection:
        history = History(connection)
        set_paused(history, 1.0)
        outage = {"cause": "plex_down", "since": 1.0, "until": 2.0, "seconds": 1.0}
        history.set(OUTAGES, [{**outage, "waiting": 1, "caught_up_after": None}])
        history.set(PROBLEM, {"text": "the connection broke", "since": 1.0})
    stream = event_stream({"events": {"connected": True, "since": 1.0}}, True)
    hooks = summarize_hook_times([1.0])
    collected = {**collect(context_of(stash, data_dir)), "events": stream, "hook_ms": hooks}
    del collected["log"], collected["left_out"], collected["folders"]

    assert keys_in(anonymous.state(collected)) == keys_in(collected)


def keys_in(value: object) -> set[str]:
    if isinstance(value, dict):
        return {*value, *(key for one in value.values() for key in keys_in(one))}
    return {key for one in value for key in keys_in(one)} if isinstance(value, list) else set()


def test_the_numbers_of_hidden_keys_are_all_there() -> None:
    status = {"left_out": {"Ann": 3, "Berta": 2, "not organized": 1, "plex_url": 4}, "failed": {}}
    assert anonymous.state(status) == {
        "left_out": {"…": 3, "… (2)": 2, "not organized": 1, "plex_url": 4},
        "failed": {},
    }


def test_the_sentences_are_those_of_the_program() -> None:
    """A message that is worded anew must be worded anew here too."""
    texts = {
        node.value
        for folder in ("worker", "plex", "stash", "validation", "tasks")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "anonymous.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    joined = "\n".join(texts)
    for sentence in anonymous.SENTENCES:
        for part in anonymous.literals(COMPOSED.sub("", sentence)):
            assert max(part.split(": "), key=len).strip(" ():;.,") in joined, sentence
