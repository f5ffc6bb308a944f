"""Upload a cover that was scaled down, as Plex refused Stash's own for its size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from common.files import make_private_dir, replace_private
from tasks.context import Context, Result, UsageError, scene_id_of
from worker.put_cover import file_of, picture_of


def put_cover(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Upload a picture as the poster of a scene's item, in place of Stash's cover.

    Args:
        arguments: `scene_id`; `data`: a JPEG of at most 4 MB, in base64.

    Raises:
        UsageError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    scene_id, text = scene_id_of(arguments), str(arguments.get("data") or "").strip()
    try:
        picture_of(text)
    except ValueError as error:
        raise UsageError(f"data: {error}") from None
    file = file_of(context.data_dir, scene_id)
    make_private_dir(os.path.dirname(file))
    replace_private(file, text)
    result = context.run("put_cover", {"scene_id": scene_id})
    left = [one[2] for one in result.get("left") or []]
    reason = result.get("reason") or next(iter(left), None)
    if reason:
        text = f"Scene {scene_id}: the cover was not uploaded: {reason}"
        return Result(text, {"scene_id": scene_id, "reason": reason}, ok=False)
    return Result(f"Scene {scene_id}: the cover is in Plex", {"scene_id": scene_id})
