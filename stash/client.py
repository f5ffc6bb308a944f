"""Query Stash's GraphQL API. Queries hold no values; these are passed as variables."""

from __future__ import annotations

import ipaddress
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from urllib3.exceptions import InsecureRequestWarning

from common.limited import AnswerTooLarge, LimitedSession, UnknownEncoding
from common.redaction import Redactor
from stash.connection import StashConnection
from stash.records import (
    Cover,
    PluginUse,
    Scene,
    SceneFiles,
    read_hierarchy,
    read_scene,
    read_scene_files,
)
from stash.settings import PLUGIN_ID
from validation.errors import PermanentError, TransientError

#: Seconds to connect, seconds between two bytes of a response.
TIMEOUT = (5.0, 30.0)
#: Maximum size of a cover in bytes.
_MAX_COVER_SIZE = 32 * 1024 * 1024
#: Minimum seconds between two changes to a renewed session cookie; a cookie is valid for an hour.
_COOKIE_RENEWAL_INTERVAL = 60.0
#: Scenes per page.
_PAGE_SIZE = 500
#: Difference between the largest and the smallest UTC offset, plus an hour for a clock change.
_MAX_OFFSET_DIFFERENCE = timedelta(hours=27)
_UNAUTHORIZED = (401, 403)
_NOT_MODIFIED = 304

SCENE_FIELDS = """
    id title code details date director rating100 organized created_at updated_at
    studio { id name parent_studio { id name } } performers { id name tags { id name } }
    tags { id name } groups { group { id name } }
    files { path size } paths { screenshot } stash_ids { stash_id }
"""
#: All tags that have parents. Beside the scenes of a page, this takes a fifth of the time that the
#: parents of each of their tags would.
_HIERARCHY = """
    hierarchy: findTags(
      tag_filter: {parent_count: {value: 0, modifier: GREATER_THAN}}, filter: {per_page: -1}
    ) { tags { id parents { id name } } }
"""
_FIND_SCENE = f"""
query PlexSyncScene($id: ID!) {{ findScene(id: $id) {{ {SCENE_FIELDS} }} {_HIERARCHY} }}
"""
#: Scenes of one request by id.
_MOST_BY_ID = 20
_LATEST = f"""
query PlexSyncLatest($page: Int!, $per_page: Int!) {{
  findScenes(filter: {{page: $page, per_page: $per_page, sort: "updated_at", direction: DESC}}) {{
    scenes {{ {SCENE_FIELDS} }}
  }}
  {_HIERARCHY}
}}
"""


def _listing(name: str, fields: str, more: str = "") -> str:
    """Return a query that lists scenes ordered by id, and asks for more beside them."""
    return f"""
query {name}($filter: SceneFilterType!, $per_page: Int!) {{
  findScenes(scene_filter: $filter, filter: {{per_page: $per_page, sort: "id", direction: ASC}}) {{
    scenes {{ {fields} }}
  }}
  {more}
}}
"""


def _find_scenes_query(count: int) -> str:
    """Return a query for several scenes by id; one that does not exist is null.

    With `findScenes(ids: …)`, Stash returns none of them and logs an error if one does not exist.
    """
    names = [f"$id{number}: ID!" for number in range(count)]
    fields = [f"s{number}: findScene(id: $id{number}) {{ ...S }}" for number in range(count)]
    return (
        f"query PlexSyncScenes({', '.join(names)}) {{ {' '.join(fields)} {_HIERARCHY} }}"
        f" fragment S on Scene {{ {SCENE_FIELDS} }}"
    )


_SCENES = _listing("PlexSyncPage", SCENE_FIELDS, _HIERARCHY)
_SAME_FILE_NAME = _listing("PlexSyncNamesakes", "id organized created_at files { path size }")
_COUNT = """
query PlexSyncCount($filter: SceneFilterType) {
  findScenes(scene_filter: $filter, filter: {per_page: 0}) { count }
}
"""
#: Kind of related object → field of Stash's scene filter, which is also the name of its listing.
RELATED_KINDS = {"performer": "performers", "studio": "studios", "tag": "tags", "group": "groups"}
_RELATED = """
query PlexSyncRelated($filter: FindFilterType!) {
  findPerformers(filter: $filter) { count performers { id updated_at } }
  findStudios(filter: $filter) { count studios { id updated_at } }
  findTags(filter: $filter) { count tags { id updated_at } }
  findGroups(filter: $filter) { count groups { id updated_at } }
}
"""
_SAMPLE = f"""
query PlexSyncSample($sort: String!, $per_page: Int!) {{
  findScenes(filter: {{per_page: $per_page, sort: $sort}}) {{ scenes {{ {SCENE_FIELDS} }} }}
  {_HIERARCHY}
}}
"""
_CONFIGURE = """
mutation PlexSyncConfigure($id: ID!, $settings: Map!) {
  configurePlugin(plugin_id: $id, input: $settings)
}
"""
_SETTINGS = """
query PlexSyncSettings($ids: [ID!]) {
  configuration { plugins(include: $ids) general { stashes { path } } }
}
"""
#: Stash answers from memory: none of it makes a disk spin.
_USE = """
query PlexSyncUse($ids: [ID!]) {
  plugins { id enabled }
  jobQueue { id }
  configuration { plugins(include: $ids) }
}"""
_API_KEY = "query PlexSyncApiKey { configuration { general { apiKey } } }"
_PLUGINS_DIR = "query PlexSyncPluginsPath { configuration { general { pluginsPath } } }"
_VERSION = "query PlexSyncVersion { version { version } }"


class StashUnavailable(TransientError):
    """Signal that Stash does not respond, or not as expected. Transient, like any outage."""


class StashAnswerTooLarge(StashUnavailable):
    """Signal that Stash sends more than a client of it can want."""


class StashRefused(TransientError):
    """Signal that Stash rejects our session. The next hook saves a new one."""


class StashQueryError(PermanentError):
    """Signal that Stash rejects the query: its version is incompatible with ours."""


class StashClient:
    """Query Stash. Thread-safe; sends one request at a time.

    Every query may raise StashUnavailable, StashRefused or StashQueryError.
    """

    def __init__(
        self,
        connection: Callable[[], StashConnection | None],
        *,
        redactor: Redactor | None = None,
        session: LimitedSession | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a client; it connects on first use.

        Args:
            connection: returns the connection that the last hook saved, or None. Called again when
                Stash rejects the current session.
            redactor: learns the API key and each session cookie.
            clock: monotonic seconds.
        """
        # A certificate on a loopback address can't be verified (README, "Limits"). Without this,
        # every request would log a warning.
        urllib3.disable_warnings(InsecureRequestWarning)
        self._latest_connection = connection
        self._redactor = redactor or Redactor()
        # It keeps no cookies; `_cookie` holds the only one.
        self._session = session or LimitedSession(TIMEOUT[1])
        self._clock = clock
        self._lock = threading.Lock()
        self._renew_at = float("-inf")
        self._cookie: tuple[str, str] | None = None
        self._address = ""  # of the connection in use; empty before the first

    def find_scene(self, scene_id: int) -> Scene | None:
        """Return the scene's current state, or None if it does not exist."""
        data = self.query(_FIND_SCENE, {"id": str(scene_id)})
        with _parsing_response():
            return next(_scenes(data, [data["findScene"]]), None)

    def find_scenes(self, scene_ids: list[int]) -> list[Scene]:
        """Return the current state of several scenes; those that do not exist are left out."""
        found: list[Scene] = []
        for start in range(0, len(scene_ids), _MOST_BY_ID):
            some = scene_ids[start : start + _MOST_BY_ID]
            variables = {f"id{number}": str(scene_id) for number, scene_id in enumerate(some)}
            data = self.query(_find_scenes_query(len(some)), variables)
            with _parsing_response():
                found += _scenes(data, [data[f"s{number}"] for number in range(len(some))])
        return found

    def page_after(
        self, scene_id: int, size: int, scene_filter: dict[str, Any] | None = None
    ) -> list[Scene]:
        """Return the next scenes after an id, by id; fewer than `size` at the end.

        With numbered pages, a scene deleted meanwhile would shift the next page.

        Args:
            scene_filter: of Stash's scenes; None: all.
        """
        after = {**(scene_filter or {}), "id": {"value": scene_id, "modifier": "GREATER_THAN"}}
        data = self.query(_SCENES, {"filter": after, "per_page": size})
        with _parsing_response():
            scenes = list(_scenes(data, data["findScenes"]["scenes"]))
        _check_order(scene_id, (scene.id for scene in scenes))
        return scenes

    def latest(self, page: int, size: int) -> list[Scene]:
        """Return a page of the scenes that were changed last, the latest first.

        Args:
            page: 1 and up.
        """
        data = self.query(_LATEST, {"page": page, "per_page": size})
        with _parsing_response():
            return list(_scenes(data, data["findScenes"]["scenes"]))

    def latest_related(self, page: int, size: int) -> dict[str, tuple[int, list[tuple[int, str]]]]:
        """Return kind → (number, page of (id, updated_at), the latest change first).

        Args:
            page: 1 and up.
        """
        listing = {"page": page, "per_page": size, "sort": "updated_at", "direction": "DESC"}
        data = self.query(_RELATED, {"filter": listing})
        found = {}
        with _parsing_response():
            for kind, name in RELATED_KINDS.items():
                listed = data[f"find{name.capitalize()}"]
                objects = [(int(one["id"]), str(one["updated_at"])) for one in listed[name]]
                found[kind] = (int(listed["count"]), objects)
        return found

    def updated_filter(self, moment: float) -> dict[str, Any]:
        """Return a scene filter for changes after `moment` (epoch seconds), and some before.

        Stash compares times as text, each with the UTC offset of the moment when it was written.
        So the filter covers more than a day before `moment`, lest another time zone or a clock
        change hide a scene. The caller filters out scenes that are too old.
        """
        newest = self.latest(1, 1)
        offset: tzinfo = timezone.utc
        with _parsing_response():
            if newest:  # without the fraction: Python 3.10 parses only some lengths of it
                text = re.sub(r"\.\d+", "", newest[0].updated_at).replace("Z", "+00:00")
                offset = datetime.fromisoformat(text).tzinfo or offset
        since = datetime.fromtimestamp(moment, offset) - _MAX_OFFSET_DIFFERENCE
        value = since.isoformat(timespec="seconds")
        return {"updated_at": {"value": value, "modifier": "GREATER_THAN"}}

    def sample(self, count: int, seed: int) -> list[Scene]:
        """Return `count` random scenes."""
        data = self.query(_SAMPLE, {"sort": f"random_{seed}", "per_page": count})
        with _parsing_response():
            return list(_scenes(data, data["findScenes"]["scenes"]))

    def scenes_with_name(self, paths: list[str]) -> list[SceneFiles]:
        """Return the scenes with a file named like one of `paths`.

        The case of names doesn't count, nor does their Unicode form.
        """
        found = []
        scene_filter = {"path": {"value": _file_name_regex(paths), "modifier": "MATCHES_REGEX"}}
        for scenes in self._pages(_SAME_FILE_NAME, scene_filter, _PAGE_SIZE):
            with _parsing_response():
                found += [read_scene_files(scene) for scene in scenes]
        return found

    def scene_count(self, scene_filter: dict[str, Any] | None = None) -> int:
        """Return the number of scenes that pass a filter; None: all."""
        data = self.query(_COUNT, {"filter": scene_filter or {}})
        with _parsing_response():
            return int(data["findScenes"]["count"])

    def plugin_settings(self, plugin_id: str = PLUGIN_ID) -> dict[str, Any]:
        """Return the plugin's settings; a setting that was never changed is absent."""
        return self.configuration(plugin_id)[0]

    def configuration(self, plugin_id: str = PLUGIN_ID) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the plugin's settings, and the folders of Stash's library."""
        data = self.query(_SETTINGS, {"ids": [plugin_id]})
        with _parsing_response():
            found = data["configuration"]
            settings = dict((found["plugins"] or {}).get(plugin_id) or {})
            return settings, tuple(str(one["path"]) for one in found["general"]["stashes"])

    def configure_plugin(self, settings: dict[str, Any], plugin_id: str = PLUGIN_ID) -> None:
        """Replace all of the plugin's settings; Stash can't change a single one."""
        self.query(_CONFIGURE, {"id": plugin_id, "settings": settings})

    def plugin_use(self, plugin_id: str = PLUGIN_ID) -> PluginUse:
        """Return whether a plugin is enabled, whether Stash runs jobs, and the settings."""
        data = self.query(_USE, {"ids": [plugin_id]})
        with _parsing_response():
            states = {one["id"]: bool(one["enabled"]) for one in data["plugins"] or ()}
            settings = (data["configuration"]["plugins"] or {}).get(plugin_id) or {}
            return PluginUse(states.get(plugin_id), bool(data["jobQueue"]), settings)

    def fetch_cover(self, scene: Scene, etag: str = "") -> Cover:
        """Return the scene's cover.

        For a scene without a cover Stash sends a placeholder (SVG), for an expired session a page.

        Args:
            etag: of the cover that is known; if it is still the same, no picture is sent.

        Raises:
            StashUnavailable, StashRefused
        """
        if not scene.cover:
            return Cover(None)
        headers = {"If-None-Match": etag} if etag else {}
        try:
            response = self._send("GET", address_of_cover(scene), headers=headers)
        except StashAnswerTooLarge:
            return Cover(None)
        if response.status_code == _NOT_MODIFIED:
            return Cover(None, _date_of(response), etag, is_unchanged=True)
        if response.status_code >= 500:
            raise StashUnavailable(
                f"Stash answered {response.status_code} to the request for a cover"
            )
        content = response.content
        is_cover = response.ok and len(content) <= _MAX_COVER_SIZE and is_picture(content)
        etag = response.headers.get("ETag", "") if is_cover else ""
        return Cover(
            content if is_cover else None, _date_of(response) if response.ok else None, etag
        )

    def check(self) -> str:
        """Return Stash's version: the cheapest health check of address and session."""
        data = self.query(_VERSION)
        with _parsing_response():
            return str(data["version"]["version"])

    def plugins_dir(self) -> str:
        """Return the folder where Stash looks for plugins."""
        data = self.query(_PLUGINS_DIR)
        with _parsing_response():
            return str(data["configuration"]["general"]["pluginsPath"])

    def query(self, text: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a GraphQL query and return the response's `data`.

        Raises:
            StashUnavailable: no response, or not a GraphQL response.
            StashRefused: the session is not valid, or no longer.
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
                f"{self._address} answered {response.status_code} without GraphQL; is it Stash?"
            ) from None
        if response.status_code in (400, 422):
            raise StashQueryError(f"Incompatible Stash version: Stash rejects {_messages(errors)}")
        if errors or not response.ok or not isinstance(data, dict):
            raise StashUnavailable(
                f"Stash could not answer ({response.status_code}): {_messages(errors)}"
            )
        return data

    def _pages(self, text: str, scene_filter: dict[str, Any], size: int) -> Iterator[list[Any]]:
        """Yield scenes in pages that start after the last id of the page before.

        With numbered pages, a scene deleted meanwhile would shift the next page.
        """
        last_id = 0
        while True:
            after = {**scene_filter, "id": {"value": last_id, "modifier": "GREATER_THAN"}}
            data = self.query(text, {"filter": after, "per_page": size})
            with _parsing_response():
                scenes = list(data["findScenes"]["scenes"])
                ids = [int(scene["id"]) for scene in scenes]
            _check_order(last_id, ids)
            last_id = max(ids, default=last_id)
            yield scenes
            if len(scenes) < size:
                return

    def _send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        with self._lock:
            return self._send_locked(method, path, arguments)

    def _send_locked(self, method: str, path: str, arguments: dict[str, Any]) -> requests.Response:
        """Send a request; retry once with the latest connection if Stash moved or wants a login."""
        if not self._address or self._has_moved():  # something else may answer there by now
            self._log_in()
        try:
            response = self._request(method, path, arguments)
            retry = _wants_login(response)
        except StashUnavailable:
            if not self._has_moved():
                raise
            retry = True
        if retry:
            self._log_in()
            response = self._request(method, path, arguments)
        if _wants_login(response):
            raise StashRefused(
                f"Stash refuses the session of PlexSync ({response.status_code});"
                " save any scene in Stash"
            )
        return response

    def _has_moved(self) -> bool:
        latest = self._latest_connection()
        return latest is not None and latest.url != self._address

    def _request(self, method: str, path: str, arguments: dict[str, Any]) -> requests.Response:
        accept = "application/json" if method == "POST" else "image/*"
        headers = {"Accept": accept, **arguments.get("headers", {})}
        if self._cookie:
            headers["Cookie"] = "=".join(self._cookie)
        try:
            response = self._session.request(
                method,
                self._address + path,
                timeout=TIMEOUT,
                # Stash's certificate never names the loopback address that we connect to.
                verify=not self._is_loopback,
                **{**arguments, "headers": headers},
            )
        except AnswerTooLarge as error:
            raise StashAnswerTooLarge(f"The answer of {self._address} is too large") from error
        except UnknownEncoding as error:
            raise StashUnavailable(
                f"The answer of {self._address} is packed in a way that PlexSync does not read"
            ) from error
        except (requests.RequestException, ValueError) as error:
            raise StashUnavailable(
                f"Stash does not answer at {self._address} ({type(error).__name__})"
            ) from error
        self._keep_renewed_cookie(response)
        return response

    def _keep_renewed_cookie(self, response: requests.Response) -> None:
        """Use the cookie that Stash renewed with its response.

        Each response extends the session by an hour; the first cookie alone expires after one hour.
        An API key does not expire, so with one the cookie does not matter.
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
        self._renew_at = self._clock() + _COOKIE_RENEWAL_INTERVAL
        if cookie:
            self._redactor.add_passing(cookie[1])

    def _log_in(self) -> None:
        """Switch to the latest connection and fetch the API key, which does not expire."""
        connection = self._latest_connection()
        if connection is None:
            raise StashRefused("PlexSync does not know where Stash is yet: save any scene in Stash")
        self._address = connection.url
        self._session.headers.pop("ApiKey", None)
        self._use_cookie(connection.cookie)
        response = self._request("POST", "/graphql", {"json": {"query": _API_KEY}})
        if response.ok:
            key = _api_key(response)
            if key:
                self._redactor.add(key)
                self._session.headers["ApiKey"] = key

    @property
    def _is_loopback(self) -> bool:
        host = urlsplit(self._address).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:  # a name; one such as 127.example.org is not on this machine
            return False


def address_of_cover(scene: Scene) -> str:
    """Return path and query of the cover's URL.

    Its host can be Stash's external host; requests go to the connection's address instead.
    """
    parts = urlsplit(scene.cover)
    # With one slash: behind the address, "@host" would name another host.
    return f"/{parts.path.lstrip('/')}?{parts.query}"


def _scenes(data: dict[str, Any], scenes: Iterable[dict[str, Any] | None]) -> Iterator[Scene]:
    """Yield the scenes of a response; those that do not exist are left out."""
    hierarchy = read_hierarchy(data["hierarchy"]["tags"])
    for scene in scenes:
        if scene is not None:
            yield read_scene(scene, hierarchy)


def _check_order(last_id: int, ids: Iterable[int]) -> None:
    """Raise StashUnavailable unless the ids come after `last_id`: paging would have no end."""
    if any(scene_id <= last_id for scene_id in ids):
        raise StashUnavailable("Stash's answer can't be understood (the same scenes again)")


def _date_of(response: requests.Response) -> float | None:
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def _wants_login(response: requests.Response) -> bool:
    """Tell whether Stash requires a login: by the status for GraphQL, else by a redirect."""
    if not response.is_redirect:
        return response.status_code in _UNAUTHORIZED
    try:
        return urlsplit(response.headers["Location"]).path.endswith("/login")
    except ValueError:  # not an address
        return False


def _file_name_regex(paths: list[str]) -> str:
    """Return a regular expression (RE2) that matches paths with a file name of one of `paths`.

    It covers both Unicode forms (NFC, NFD) and letters with irregular upper case ("ß", "SS").
    """
    names = {re.split(r"[\\/]", path)[-1] for path in paths}
    cases = {case for name in names for case in (name, name.upper(), name.casefold())}
    spellings = {unicodedata.normalize(form, case) for case in cases for form in ("NFC", "NFD")}
    alternatives = (
        re.sub("(?i)ss", "(?:ss|ß)", re.escape(spelling)) for spelling in sorted(spellings)
    )
    return rf"(?i)[\\/](?:{'|'.join(alternatives)})$"


def is_picture(content: bytes) -> bool:
    """Tell whether the bytes are a JPEG, PNG, GIF or WebP picture."""
    return (
        content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")
    )  # fmt: skip


@contextmanager
def _parsing_response() -> Iterator[None]:
    """Translate errors of parsing a response of unexpected shape into `StashUnavailable`."""
    try:
        yield
    except KeyError as error:  # the name is one that a query of ours has
        raise StashUnavailable(
            f"Stash's answer can't be understood (no {error.args[0]})"
        ) from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
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
