"""Stash's GraphQL over HTTP. Queries are constant texts; values travel as variables."""

from __future__ import annotations

import re
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from urllib3.exceptions import InsecureRequestWarning

from common.http import send
from common.media import MediaFile
from stash.connection import StashConnection
from stash.records import Cover, Scene, read_scene
from stash.settings import PLUGIN_ID
from validation.errors import PermanentError, TransientError

#: Seconds to connect and between two bytes of an answer.
TIMEOUT = (5.0, 30.0)
#: Largest cover that is taken, in bytes.
_LARGEST_COVER = 32 * 1024 * 1024
#: Seconds for which a session cookie, good for an hour, is used before a renewed one is taken over.
_RENEW_AFTER = 60.0
_PAGE = 500
_MANY = 5_000
#: Between the westernmost and the easternmost offset from UTC, and an hour for a clock change.
_ALL_OFFSETS = timedelta(hours=27)
_UNAUTHORIZED = (401, 403)

SCENE_FIELDS = """
    id title details date director rating100 organized updated_at
    studio { name } performers { name } tags { name } groups { group { name } }
    files { path size } paths { screenshot }
"""
_FIND_SCENE = f"query PlexSyncScene($id: ID!) {{ findScene(id: $id) {{ {SCENE_FIELDS} }} }}"
_FIND_SCENES = f"query PlexSyncScenes($ids: [ID!]) {{ findScenes(ids: $ids) {{ scenes {{ {SCENE_FIELDS} }} }} }}"
_NEWEST = """
query PlexSyncNewest {
  findScenes(filter: {per_page: 1, sort: "updated_at", direction: DESC}) { scenes { updated_at } }
}
"""


def _listing(name: str, fields: str) -> str:
    """Return the query of a list by id."""
    return f"""
query {name}($filter: SceneFilterType!, $per_page: Int!) {{
  findScenes(scene_filter: $filter, filter: {{per_page: $per_page, sort: "id", direction: ASC}}) {{
    scenes {{ {fields} }}
  }}
}}
"""


_UPDATED_SINCE = _listing("PlexSyncUpdated", "id updated_at")
_NAMESAKES = _listing("PlexSyncNamesakes", "id files { path size }")
_ALL = _listing("PlexSyncIds", "id updated_at")
_SCENES_OF = _listing("PlexSyncScenesOf", "id")
_COUNT = "query PlexSyncCount { findScenes(filter: {per_page: 0}) { count } }"
#: What scenes have → the part of a filter that asks for those that have it.
RELATED_KINDS = {"performer": "performers", "studio": "studios", "tag": "tags", "group": "groups"}
_SAMPLE = f"""
query PlexSyncSample($sort: String!, $per_page: Int!) {{
  findScenes(filter: {{per_page: $per_page, sort: $sort}}) {{ scenes {{ {SCENE_FIELDS} }} }}
}}
"""
_CONFIGURE = """
mutation PlexSyncConfigure($id: ID!, $settings: Map!) {
  configurePlugin(plugin_id: $id, input: $settings)
}
"""
_SETTINGS = "query PlexSyncSettings($ids: [ID!]) { configuration { plugins(include: $ids) } }"
_API_KEY = "query PlexSyncApiKey { configuration { general { apiKey } } }"
_VERSION = "query PlexSyncVersion { version { version } }"


class StashUnavailable(TransientError):
    """Stash does not answer, or not with what it should. Passing, like every outage."""


class StashRefused(TransientError):
    """Stash refuses our session. The next hook brings a new one."""


class StashQueryError(PermanentError):
    """Stash rejects the query itself: its version and ours don't go together."""


class StashClient:
    """One conversation with Stash, for any thread; one request at a time."""

    def __init__(
        self,
        connection: Callable[[], StashConnection | None],
        *,
        learn_secret: Callable[[str | None], object] = lambda secret: None,
        learn_cookie: Callable[[str | None], object] = lambda cookie: None,
        session: requests.Session | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect on first use.

        Args:
            connection: returns the latest connection that a hook left; asked again when Stash refuses ours.
            clock: seconds, never going back.
            learn_secret, learn_cookie: are told the API key, and each session cookie, to keep them out of logs.
        """
        # A certificate on a loopback address can't be verified (README, "Limits"): no warning at each request.
        urllib3.disable_warnings(InsecureRequestWarning)
        self._latest_connection = connection
        self._learn_secret = learn_secret
        self._learn_cookie = learn_cookie
        self._session = session or requests.Session()
        self._session.cookies.set_policy(
            DefaultCookiePolicy(allowed_domains=[])
        )  # we keep the one there is
        self._clock = clock
        self._lock = threading.Lock()
        self._renew_at = float("-inf")
        self._cookie: tuple[str, str] | None = None
        self._connection: StashConnection | None = None

    def find_scene(self, scene_id: int) -> Scene | None:
        """Return the scene as it is now, or None when Stash has none.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        data = self.query(_FIND_SCENE, {"id": str(scene_id)})
        with _parsing_response():
            return None if data["findScene"] is None else read_scene(data["findScene"])

    def find_scenes(self, scene_ids: list[int]) -> list[Scene]:
        """Return several scenes as they are now, in one query.

        Raises:
            StashUnavailable: also when one of them does not exist: Stash then answers for none.
            StashRefused, StashQueryError
        """
        data = self.query(_FIND_SCENES, {"ids": [str(scene_id) for scene_id in scene_ids]})
        with _parsing_response():
            return [read_scene(scene) for scene in data["findScenes"]["scenes"]]

    def updated_since(self, moment: float) -> Iterator[tuple[int, str]]:
        """Yield (id, updated_at) of the scenes that were changed after `moment` (epoch seconds), by id.

        Stash compares times as text, each in the offset that it had when it was written; so ask for more than a
        day too much, as another time zone, or a clock change, would hide some; the caller sorts out what is too old.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        newest = self.newest_update()
        if newest is None:
            return
        with _parsing_response():
            # without a fraction: Python 3.10 takes only some
            offset = datetime.fromisoformat(
                re.sub(r"\.\d+", "", newest).replace("Z", "+00:00")
            ).tzinfo
        since = (datetime.fromtimestamp(moment, offset) - _ALL_OFFSETS).isoformat(
            timespec="seconds"
        )
        asked = {"updated_at": {"value": since, "modifier": "GREATER_THAN"}}
        for scenes in self._by_id(_UPDATED_SINCE, asked, _PAGE):
            with _parsing_response():
                found = [(int(scene["id"]), str(scene["updated_at"])) for scene in scenes]
            yield from found

    def all_scenes(self) -> Iterator[list[tuple[int, str]]]:
        """Yield (id, updated_at) of all scenes by id, some thousands at a time.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        for scenes in self._by_id(_ALL, {}, _MANY):
            with _parsing_response():
                found = [(int(scene["id"]), str(scene["updated_at"])) for scene in scenes]
            yield found

    def scenes_of(self, kind: str, object_id: int) -> Iterator[list[int]]:
        """Yield the ids of the scenes that have a performer, studio, tag or group, some thousands at a time.

        Args:
            kind: one of `RELATED_KINDS`.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        asked = {RELATED_KINDS[kind]: {"value": [str(object_id)], "modifier": "INCLUDES"}}
        for scenes in self._by_id(_SCENES_OF, asked, _MANY):
            with _parsing_response():
                found = [int(scene["id"]) for scene in scenes]
            yield found

    def sample(self, count: int, seed: int) -> list[Scene]:
        """Return some scenes at random.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        data = self.query(_SAMPLE, {"sort": f"random_{seed}", "per_page": count})
        with _parsing_response():
            return [read_scene(scene) for scene in data["findScenes"]["scenes"]]

    def scenes_with_name(self, paths: list[str]) -> list[tuple[int, list[MediaFile]]]:
        """Return (id, [(path, size)]) of the scenes that have a file named as one of `paths`, upper or lower case.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        found: list[tuple[int, list[MediaFile]]] = []
        asked = {"path": {"value": _named(paths), "modifier": "MATCHES_REGEX"}}
        for scenes in self._by_id(_NAMESAKES, asked, _PAGE):
            with _parsing_response():
                found += [
                    (
                        int(scene["id"]),
                        [MediaFile(file["path"], file["size"]) for file in scene["files"]],
                    )
                    for scene in scenes
                ]
        return found

    def newest_update(self) -> str | None:
        """Return `updated_at` of the scene that was changed last, or None when there is no scene.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        data = self.query(_NEWEST)
        with _parsing_response():
            scenes = data["findScenes"]["scenes"]
            return str(scenes[0]["updated_at"]) if scenes else None

    def scene_count(self) -> int:
        """Return how many scenes there are.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        data = self.query(_COUNT)
        with _parsing_response():
            return int(data["findScenes"]["count"])

    def scene_ids(self) -> Iterator[int]:
        """Yield the ids of all scenes.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        for page in self.all_scenes():
            yield from (scene_id for scene_id, _ in page)

    def plugin_settings(self, plugin_id: str = PLUGIN_ID) -> dict[str, Any]:
        """Return what the user set on the plugin's settings page; keys that were never touched are absent.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        data = self.query(_SETTINGS, {"ids": [plugin_id]})
        with _parsing_response():
            return dict((data["configuration"]["plugins"] or {}).get(plugin_id) or {})

    def configure_plugin(self, settings: dict[str, Any], plugin_id: str = PLUGIN_ID) -> None:
        """Replace the plugin's settings, all of them: Stash knows no other way.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        self.query(_CONFIGURE, {"id": plugin_id, "settings": settings})

    def fetch_cover(self, scene: Scene) -> Cover:
        """Return the scene's cover.

        Stash answers a missing cover with a drawing (SVG), and an expired login with a page.

        Raises:
            StashUnavailable, StashRefused
        """
        if not scene.cover:
            return Cover(None)
        response = self._send("GET", address_of_cover(scene))
        if response.status_code >= 500:
            raise StashUnavailable(
                f"Stash answered {response.status_code} to the request for a cover"
            )
        content = response.content
        is_cover = response.ok and len(content) <= _LARGEST_COVER and is_picture(content)
        return Cover(content if is_cover else None, _date_of(response) if response.ok else None)

    def check(self) -> str:
        """Return Stash's version: the cheapest question that proves address and login.

        Raises:
            StashUnavailable, StashRefused, StashQueryError
        """
        data = self.query(_VERSION)
        with _parsing_response():
            return str(data["version"]["version"])

    def query(self, text: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask Stash and return `data`.

        Raises:
            StashUnavailable: no answer, or not a GraphQL one.
            StashRefused: our session is not, or no longer, valid.
            StashQueryError: Stash rejects the query.
        """
        response = self._send(
            "POST", "/graphql", json={"query": text, "variables": variables or {}}
        )
        try:
            content = response.json()
            errors, data = content.get("errors"), content.get("data")
        except (ValueError, AttributeError, RecursionError):
            raise StashUnavailable(
                f"{self._address} answered {response.status_code} and no GraphQL; is it Stash?"
            ) from None
        if response.status_code in (400, 422):
            raise StashQueryError(
                f"Stash and this PlexSync don't go together: Stash rejects {_messages(errors)}"
            )
        if errors or not response.ok or not isinstance(data, dict):
            raise StashUnavailable(
                f"Stash could not answer ({response.status_code}): {_messages(errors)}"
            )
        return data

    def _by_id(self, text: str, asked: dict[str, Any], size: int) -> Iterator[list[Any]]:
        """Yield a list in pages that begin after an id: of numbered ones, a scene that goes would shift the next."""
        last = 0
        while True:
            after = {**asked, "id": {"value": last, "modifier": "GREATER_THAN"}}
            data = self.query(text, {"filter": after, "per_page": size})
            with _parsing_response():
                scenes = list(data["findScenes"]["scenes"])
                last = int(scenes[-1]["id"]) if scenes else last
            yield scenes
            if len(scenes) < size:
                return

    def _send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        with self._lock:
            return self._send_alone(method, path, arguments)

    def _send_alone(self, method: str, path: str, arguments: dict[str, Any]) -> requests.Response:
        """Send one request; where Stash has moved or refuses the session, once more as the last hook left it."""
        if self._connection is None:
            self._log_in()
        try:
            response = self._request(method, path, arguments)
            again = _is_refusal(response)
        except StashUnavailable:
            if not self._has_moved():
                raise
            again = True
        if again:
            self._log_in()
            response = self._request(method, path, arguments)
        if _is_refusal(response):
            raise StashRefused(
                f"Stash refuses the session of PlexSync ({response.status_code}); save any scene in it"
            )
        return response

    def _has_moved(self) -> bool:
        latest = self._latest_connection()
        return latest is not None and latest.url != self._address

    def _request(self, method: str, path: str, arguments: dict[str, Any]) -> requests.Response:
        headers = {"Accept": "application/json" if method == "POST" else "image/*"}
        if self._cookie:
            headers["Cookie"] = "=".join(self._cookie)
        try:
            response = send(
                self._session,
                method,
                self._address + path,
                headers=headers,
                timeout=TIMEOUT,
                # Stash's own certificate is for another name than the loopback address that we use.
                verify=not self._is_loopback,
                **arguments,
            )
        except requests.RequestException as error:
            raise StashUnavailable(
                f"Stash does not answer at {self._address} ({type(error).__name__})"
            ) from error
        self._keep_renewed_cookie(response)
        return response

    def _keep_renewed_cookie(self, response: requests.Response) -> None:
        """Each answer renews the session for another hour: who sends the first cookie for ever is out after one.

        With an API key, which does not expire, nobody needs it.
        """
        if (
            self._cookie
            and "ApiKey" not in self._session.headers
            and self._clock() >= self._renew_at
        ):
            renewed = response.cookies.get(self._cookie[0])
            if renewed:
                self._use_cookie((self._cookie[0], renewed))

    def _use_cookie(self, cookie: tuple[str, str] | None) -> None:
        self._cookie = cookie
        self._renew_at = self._clock() + _RENEW_AFTER
        if cookie:
            self._learn_cookie(cookie[1])

    def _log_in(self) -> None:
        """Take the latest connection, and with its fresh cookie ask for the API key, which does not expire."""
        connection = self._latest_connection()
        if connection is None:
            raise StashRefused("PlexSync does not know where Stash is yet: save any scene in Stash")
        self._connection = connection
        self._session.headers.pop("ApiKey", None)
        self._use_cookie(connection.cookie)
        response = self._request("POST", "/graphql", {"json": {"query": _API_KEY}})
        if response.ok:
            key = _api_key(response)
            if key:
                self._learn_secret(key)
                self._session.headers["ApiKey"] = key

    @property
    def _address(self) -> str:
        assert self._connection is not None
        return self._connection.url

    @property
    def _is_loopback(self) -> bool:
        host = urlsplit(self._address).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


def address_of_cover(scene: Scene) -> str:
    """Return path and query of the cover's address; before them it has the one that Stash was asked by."""
    parts = urlsplit(scene.cover)
    return f"{parts.path}?{parts.query}"


def _date_of(response: requests.Response) -> float | None:
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def _is_refusal(response: requests.Response) -> bool:
    """Whether Stash wants a login: GraphQL's clients are told so by the status, all others sent to a page."""
    wants_page = response.is_redirect and urlsplit(response.headers["Location"]).path.endswith(
        "/login"
    )
    return wants_page or response.status_code in _UNAUTHORIZED


def _named(paths: list[str]) -> str:
    """Return a regular expression (RE2) for paths with the file name of one of `paths`.

    Names may be composed or not (NFC, NFD), and upper case may have other letters than lower case ("ß", "SS").
    """
    names = {re.split(r"[\\/]", path)[-1] for path in paths}
    cases = {case for name in names for case in (name, name.upper(), name.casefold())}
    spellings = {unicodedata.normalize(form, case) for case in cases for form in ("NFC", "NFD")}
    alternatives = (
        re.sub("(?i)ss", "(?:ss|ß)", re.escape(spelling)) for spelling in sorted(spellings)
    )
    return rf"(?i)[\\/](?:{'|'.join(alternatives)})$"


def is_picture(content: bytes) -> bool:
    """Whether the bytes are a JPEG, PNG, GIF or WebP picture."""
    return (
        content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")
    )  # fmt: skip


@contextmanager
def _parsing_response() -> Iterator[None]:
    """An answer that has not the shape that was asked for counts as none."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise StashUnavailable(
            f"Stash's answer can't be understood ({type(error).__name__})"
        ) from error


def _api_key(response: requests.Response) -> str:
    try:
        return str(response.json()["data"]["configuration"]["general"]["apiKey"] or "")
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _messages(errors: Any) -> str:
    if not isinstance(errors, list):
        return "no data"
    return "; ".join(
        str(error.get("message") if isinstance(error, dict) else error) for error in errors
    )[:500]
