"""The smallest possible hook, as a baseline script: parse the JSON on stdin, insert one row."""

import json
import sqlite3
import sys

event = json.loads(sys.stdin.buffer.read())
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode=WAL")
connection.execute(
    "CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, data BLOB, at FLOAT, status INTEGER)"
)
with connection:
    connection.execute(
        "INSERT INTO jobs (data, at, status) VALUES (?, 0, 0)", (json.dumps(event["args"]),)
    )
connection.close()
print('{"output": null}')
