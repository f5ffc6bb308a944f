"""Send HTTP requests without the per-request lookups of requests. Not for hooks.

For every request, requests reads the environment, .netrc and the cookie jar and follows redirects.
That is half of a request's cost, and it is unwanted: a token must not follow a redirect, and the
proxies are looked up once per session.
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
    """Send a request over the session's connections and return the response.

    Redirects are not followed.

    Args:
        headers: override the session's headers.
        timeout: seconds to connect, seconds between two bytes of the response.
        verify: whether to verify certificates, or a file of trusted certificates.
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
