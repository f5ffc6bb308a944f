"""The host page: what Stash's own page offers to plugins, and the files of the plugins' pages.

The page's libraries come from npm (`package.json` in `host/`); `tests.browser.libraries` installs
them. Without them the simulator has only an empty page.
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.simulators.httpd import Response
from tests.simulators.stash.manifest import Manifest

FOLDER = Path(__file__).with_name("host")
OWN = ("host.js", "host.css")
#: Name below /host/ → file below `node_modules`.
LIBRARIES = {
    "react.js": "react/umd/react.development.js",
    "react-dom.js": "react-dom/umd/react-dom.development.js",
    "react-router-dom.js": "react-router-dom/umd/react-router-dom.js",
    "react-bootstrap.js": "react-bootstrap/dist/react-bootstrap.js",
    "bootstrap.css": "bootstrap/dist/css/bootstrap.min.css",
}
_TEXT = {"javascript": "text/javascript", "css": "text/css"}


class HostPage:
    """Serves the host page and, as Stash does, each plugin's scripts, styles and assets."""

    def __init__(self, plugins: Callable[[], Mapping[str, Manifest]], modules: Path | None) -> None:
        """Set up.

        Args:
            plugins: the enabled plugins by id.
            modules: the folder `node_modules` with the libraries; None: there is no host page.
        """
        self._plugins = plugins
        self._modules = modules

    def page(self) -> bytes | None:
        """Return the page for all addresses of Stash's own routes."""
        return (FOLDER / "index.html").read_bytes() if self._modules is not None else None

    def answer(self, path: str) -> Response | None:
        """Return the response to a request below /host or /plugin; None for another path."""
        first, _, rest = path.lstrip("/").partition("/")
        if first == "plugin":
            return self._plugin(*rest.partition("/")[::2])
        if first == "host" and self._modules is not None:
            if rest in OWN:
                return _file(FOLDER / rest)
            return _file(self._modules / LIBRARIES[rest]) if rest in LIBRARIES else _not_found()
        return None

    def _plugin(self, plugin_id: str, name: str) -> Response:
        manifest = self._plugins().get(plugin_id)
        if manifest is None:
            return _not_found()
        if name in _TEXT:
            files = [manifest.folder / file for file in manifest.ui.get(name, ())]
            body = b"\n".join(file.read_bytes() for file in files)
            return Response(200, body, {"Content-Type": _TEXT[name]})
        if not name.startswith("assets/"):
            return _not_found()
        url = name.removeprefix("assets")
        assets: Mapping[str, str] = manifest.ui.get("assets", {})
        prefix = next((key for key in assets if key != "/" and url.startswith(key)), "/")
        if prefix not in assets:
            return _not_found()
        file = manifest.folder / assets[prefix] / url.removeprefix(prefix).lstrip("/")
        inside = os.path.normpath(file).startswith(f"{manifest.folder}{os.sep}")
        return _file(file) if inside and file.is_file() else _not_found()


def _file(path: Path) -> Response:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Response(200, path.read_bytes(), {"Content-Type": kind})


def _not_found() -> Response:
    return Response(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})
