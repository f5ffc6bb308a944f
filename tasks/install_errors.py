"""Why packages could not be installed, in words that tell a user what to do."""

from __future__ import annotations

import errno
import re

_SPACE = "about 60 MB"


class InstallError(Exception):
    """Nothing was installed, and what was there is untouched. The text is one line: what is wrong, what to do."""


#: What pip's words mean: the first that is found, and what to tell the user. More than one may be found.
_MEANINGS: tuple[tuple[str, str], ...] = (
    (
        r"(?i)no space left|disk quota exceeded|\[errno 28\]|\[winerror 112\]|not enough space",
        "The disk is full: free {space} where the plugin is, and run this again",
    ),
    (
        r"(?i)problem confirming the ssl certificate|certificate_verify_failed",
        "The certificate of the package index is not trusted: if a proxy stands in between, set the environment"
        " variable PIP_CERT to the file with its certificate, and run this again",
    ),
    (
        r"(?i)after connection broken by|max retries exceeded|connection ?error|timed out|name resolution",
        "The package index can't be reached from here{index}: check the network (a proxy goes into the environment"
        " variable HTTPS_PROXY), and run this again",
    ),
    (
        r"(?i)no matching distribution found for (?P<what>\S+)|could not find a version that satisfies the"
        r" requirement (?P<also>\S+)",
        "There is no ready-made package of {what} for Python {version} on {platform}: choose another Python in"
        " Settings > System > Python path, 3.10 or newer but not the very newest",
    ),
    (
        r"(?i)permission denied: (?P<what>\S+)|read-only file system: (?P<also>\S+)",
        "{what} can't be written: give this user the right to write there, and run this again",
    ),
)


def reason(text: str, status: int, version: str, platform: str) -> str:
    """Return one line that says why pip failed, and what to do.

    Args:
        text: what pip said.
        status: its exit status.
        version, platform: of the Python that is to have the packages.
    """
    for pattern, meaning in _MEANINGS:
        found = re.search(pattern, text)
        if found:
            groups = found.groupdict()
            index = re.search(r"Looking in indexes: (.+)", text)
            return meaning.format(
                what=(groups.get("what") or groups.get("also") or "").strip("'\""),
                index=f" ({index[1]})" if index else "",
                version=version,
                platform=platform,
                space=_SPACE,
            )
    lines = [line for line in text.splitlines() if line] or [f"exit status {status}"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"pip failed: {(errors or lines)[-1][:500]}"


def explain(error: OSError, place: str) -> str:
    """Return one line that says why a file can't be made, and what to do."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return f"The disk is full: free {_SPACE} where {place} is, and run this again"
    return (
        f"{error.filename or place} can't be written ({error.strerror or error}): give this user the right to write"
        f" in {place}, and run this again"
    )
