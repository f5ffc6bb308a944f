"""Tables of `history.db`, and the numbered steps that bring an older one up to date."""

from __future__ import annotations

import sqlite3

from common.sqlite import write

#: Version of the schema: the number of steps.
VERSION = 2

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
)


class NewerSchema(ValueError):
    """Signal that a newer version of PlexSync has written this file."""


def migrate(connection: sqlite3.Connection, now: float) -> None:
    """Bring the tables up to date, each step in a transaction of its own.

    Args:
        now: epoch seconds, recorded with each step.

    Raises:
        NewerSchema: the file is left alone.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise NewerSchema(
            f"history.db has schema {version}, and this PlexSync knows {VERSION}: a newer PlexSync"
            " has used this data directory. Install that version again"
        )
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
