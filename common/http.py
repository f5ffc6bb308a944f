"""One HTTP request without what requests looks up anew for each: environment, .netrc, cookies, redirects.

That is half of what a request costs, and none of it is wanted here: a token must not follow a redirect, and proxies
are looked up once. Not for hooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests


def send(
    session: requests.Session,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    timeout: tuple[float, float],
    verify: bool | str = True,
    **content: Any,
) -> requests.Response:
    """Send a request over the session's connections, and return the answer, redirects included.

    Args:
        headers: go before the session's own.
        timeout: seconds to connect, and between two bytes of an answer.
        verify: whether certificates are verified, or a file of trusted ones.
        content: `params`, `data` and `json` as for `requests.Request`.

    Raises:
        requests.RequestException
    """
    request = requests.Request(
        method, url, headers={**session.headers, **headers}, **content
    ).prepare()
    return session.send(
        request,
        timeout=timeout,
        allow_redirects=False,
        stream=False,
        verify=verify,
        cert=None,
        proxies=session.proxies,
    )
