"""Tables of `history.db`, and the numbered steps that bring an older one up to date."""

from __future__ import annotations

import sqlite3

from common.sqlite import NewerSchema, write

__all__ = ["VERSION", "NewerSchema", "migrate"]

#: Version of the schema: the number of steps.
VERSION = 6

_STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE agreements (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " scene_id INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,"
        " server TEXT NOT NULL, section INTEGER NOT NULL, rating_key INTEGER NOT NULL,"
        " path TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,"
        " files TEXT NOT NULL, digest TEXT, generation TEXT NOT NULL,"
        " item_updated_at INTEGER NOT NULL, checked_at REAL NOT NULL, synced_at REAL,"
        " missing_since REAL, verify_at REAL, fields TEXT NOT NULL, cover TEXT NOT NULL,"
        " cover_source TEXT NOT NULL, details TEXT, retired_at REAL)",
        "CREATE INDEX agreements_by_scene ON agreements(scene_id) WHERE retired_at IS NULL",
        "CREATE INDEX agreements_by_item ON agreements(rating_key) WHERE rating_key > 0",
        "CREATE INDEX agreements_by_status ON agreements(status) WHERE retired_at IS NULL",
        "CREATE INDEX agreements_by_path ON agreements(path) WHERE rating_key > 0",
        "CREATE INDEX agreements_to_verify ON agreements(verify_at) WHERE verify_at IS NOT NULL",
        "CREATE TABLE choices (scene_id INTEGER NOT NULL, server TEXT NOT NULL,"
        " rating_key INTEGER NOT NULL, path TEXT NOT NULL, missing_since REAL,"
        " PRIMARY KEY (scene_id, server, rating_key)) WITHOUT ROWID",
        "CREATE TABLE passes (id INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL)",
        "CREATE TABLE proposals (scene_id INTEGER PRIMARY KEY, reason TEXT NOT NULL)",
        "CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE migrations (step INTEGER PRIMARY KEY, name TEXT NOT NULL, at REAL NOT NULL)",
    ),
    (
        "CREATE TABLE collections (server TEXT NOT NULL, section INTEGER NOT NULL,"
        # names are compared as Plex does
        " name TEXT NOT NULL COLLATE NOCASE, kind TEXT NOT NULL, source_id INTEGER NOT NULL,"
        " rating_key INTEGER NOT NULL, renaming TEXT NOT NULL,"
        " PRIMARY KEY (server, section, name, kind, source_id)) WITHOUT ROWID",
    ),
    (
        "CREATE TABLE changes (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL,"
        " run TEXT NOT NULL, cause TEXT NOT NULL, agreement INTEGER NOT NULL,"
        " scene_id INTEGER NOT NULL, server TEXT NOT NULL, section INTEGER NOT NULL,"
        " rating_key INTEGER NOT NULL, field TEXT NOT NULL, before TEXT NOT NULL,"
        " after TEXT NOT NULL, status TEXT NOT NULL, undone_at REAL,"
        " undo INTEGER NOT NULL DEFAULT 0, why_left TEXT NOT NULL DEFAULT '')",
        "CREATE INDEX changes_by_scene ON changes(scene_id)",
        "CREATE INDEX changes_by_run ON changes(run, scene_id)",
    ),
    (  # what the page shows at each look (`history/counts.py`), out of the indexes alone
        # in Stash, of the first file; "": no file
        "ALTER TABLE agreements ADD COLUMN folder TEXT NOT NULL DEFAULT ''",
        # records get it when they are stored next; these are counted already
        "UPDATE agreements SET folder = ifnull((SELECT"
        " ifnull(nullif(rtrim(rtrim(path, replace(path, '/', '')), '/'), ''), '/') FROM"
        " (SELECT replace(json_extract(files, '$[0][0]'), '\\', '/') AS path)"
        " WHERE path IS NOT NULL), '') WHERE status = 'not_in_plex' AND json_valid(files)",
        "CREATE INDEX agreements_by_folder ON agreements(folder)"
        " WHERE retired_at IS NULL AND status = 'not_in_plex'",
        "DROP INDEX agreements_by_status",
        "CREATE INDEX agreements_by_status ON agreements(status, scene_id)"
        " WHERE retired_at IS NULL",
        "CREATE INDEX agreements_kept ON agreements(scene_id)"
        " WHERE retired_at IS NULL AND instr(fields, '\"kept\": true') > 0",
        "CREATE INDEX agreements_in_trouble ON agreements(status, scene_id)"
        " WHERE retired_at IS NULL AND status IN ('ambiguous', 'failed', 'refused')"
        " AND instr(ifnull(details, ''), '\"cleared\": true') = 0",
        "CREATE INDEX agreements_absent"
        " ON agreements(scene_id, path, updated_at, rating_key, synced_at)"
        " WHERE retired_at IS NULL AND status = 'not_in_plex'"
        " AND instr(ifnull(details, ''), '\"cleared\": true') = 0",
        "DROP INDEX changes_by_run",
        "CREATE INDEX changes_by_run ON changes(run, scene_id)",
    ),
    (
        "ALTER TABLE collections ADD COLUMN sort_title TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX agreements_asking ON agreements(scene_id)"
        ' WHERE retired_at IS NULL AND instr(fields, \'"asks": "open"\') > 0',
    ),
    (
        "ALTER TABLE choices ADD COLUMN created_at TEXT NOT NULL DEFAULT ''",
        # that of the scene that was written to the chosen item; others get it at their next use
        "UPDATE choices SET created_at = ifnull((SELECT created_at FROM agreements AS one"
        " WHERE one.scene_id = choices.scene_id AND one.server = choices.server"
        " AND one.rating_key = choices.rating_key"
        " ORDER BY retired_at IS NOT NULL, id LIMIT 1), '')",
    ),
)


def migrate(connection: sqlite3.Connection, now: float) -> None:
    """Bring the tables up to date, each step in a transaction of its own.

    Args:
        now: epoch seconds, recorded with each step.

    Raises:
        NewerSchema: the file is left alone.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise NewerSchema("history.db", version, VERSION)
    for step in range(version, VERSION):
        with write(connection):
            if connection.execute("PRAGMA user_version").fetchone()[0] > step:
                continue  # another process just did it
            for statement in _STEPS[step]:
                connection.execute(statement)
            connection.execute(
                "INSERT INTO migrations VALUES (?, ?, ?)", (step + 1, f"schema {step + 1}", now)
            )
            connection.execute(f"PRAGMA user_version={step + 1}")
