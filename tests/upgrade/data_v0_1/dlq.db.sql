BEGIN TRANSACTION;
PRAGMA user_version=1;
CREATE TABLE dead_letters ( id INTEGER PRIMARY KEY AUTOINCREMENT, scene_id INTEGER, job TEXT NOT NULL, error_type TEXT NOT NULL, error_message TEXT NOT NULL, stack_trace TEXT NOT NULL, details TEXT, retry_count INTEGER NOT NULL, failed_at REAL NOT NULL, job_key TEXT, enqueued_at REAL);
INSERT INTO "dead_letters" VALUES(3,48,'{"scene_id": 48, "update_type": "metadata", "data": {"bulk": true}, "enqueued_at": 1795281805.0388644, "job_key": "scene_48", "next_retry_at": 1795281805.0388644}','AmbiguousMatch','Scene 48 ''Twin 1'' /elsewhere/twins/Twin 1.mp4 may be any of ''Scenes'': ''Twin 1'' /media/one/Twin 1.mp4 (747000141 bytes); ''Scenes'': ''Twin 1'' /media/two/Twin 1.mp4 (747000141 bytes)','Traceback (most recent call last):
  File "/root/.stash/plugins/PlexSync/worker/processor.py", line 368, in _prepare
    target = self._match(job, scene, read_at)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/processor.py", line 390, in _match
    target = self._runner.prepare(job, scene, read_at)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 96, in prepare
    item = self.match(metadata, scene)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 134, in match
    return self._ambiguous(AmbiguousMatch(text, described), items[0])
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 281, in _ambiguous
    raise error
plex.matcher.AmbiguousMatch: Scene 48 ''Twin 1'' /elsewhere/twins/Twin 1.mp4 may be any of ''Scenes'': ''Twin 1'' /media/one/Twin 1.mp4 (747000141 bytes); ''Scenes'': ''Twin 1'' /media/two/Twin 1.mp4 (747000141 bytes)','{"candidates": [{"rating_key": 152, "library": "Scenes", "title": "Twin 1", "files": [{"path": "/media/one/Twin 1.mp4", "size": 747000141}]}, {"rating_key": 155, "library": "Scenes", "title": "Twin 1", "files": [{"path": "/media/two/Twin 1.mp4", "size": 747000141}]}]}',0,1795281805.939498,'scene_48',1795281805.0388644);
INSERT INTO "dead_letters" VALUES(4,49,'{"scene_id": 49, "update_type": "metadata", "data": {"bulk": true}, "enqueued_at": 1795281805.0388756, "job_key": "scene_49", "next_retry_at": 1795281805.0388756}','AmbiguousMatch','Scene 49 ''Twin 2'' /elsewhere/twins/Twin 2.mp4 may be any of ''Scenes'': ''Twin 2'' /media/one/Twin 2.mp4 (748000144 bytes); ''Scenes'': ''Twin 2'' /media/two/Twin 2.mp4 (748000144 bytes); ''Archive'': ''Twin 2'' /archive/three/Twin 2.mp4 (748000144 bytes)','Traceback (most recent call last):
  File "/root/.stash/plugins/PlexSync/worker/processor.py", line 368, in _prepare
    target = self._match(job, scene, read_at)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/processor.py", line 390, in _match
    target = self._runner.prepare(job, scene, read_at)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 96, in prepare
    item = self.match(metadata, scene)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 134, in match
    return self._ambiguous(AmbiguousMatch(text, described), items[0])
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 281, in _ambiguous
    raise error
plex.matcher.AmbiguousMatch: Scene 49 ''Twin 2'' /elsewhere/twins/Twin 2.mp4 may be any of ''Scenes'': ''Twin 2'' /media/one/Twin 2.mp4 (748000144 bytes); ''Scenes'': ''Twin 2'' /media/two/Twin 2.mp4 (748000144 bytes); ''Archive'': ''Twin 2'' /archive/three/Twin 2.mp4 (748000144 bytes)','{"candidates": [{"rating_key": 158, "library": "Scenes", "title": "Twin 2", "files": [{"path": "/media/one/Twin 2.mp4", "size": 748000144}]}, {"rating_key": 161, "library": "Scenes", "title": "Twin 2", "files": [{"path": "/media/two/Twin 2.mp4", "size": 748000144}]}, {"rating_key": 164, "library": "Archive", "title": "Twin 2", "files": [{"path": "/archive/three/Twin 2.mp4", "size": 748000144}]}]}',0,1795281805.953429,'scene_49',1795281805.0388756);
INSERT INTO "dead_letters" VALUES(5,50,'{"scene_id": 50, "update_type": "metadata", "data": {"bulk": true}, "enqueued_at": 1795281805.0388877, "job_key": "scene_50", "next_retry_at": 1795281805.0388877}','PlexNotFound','no Plex item has the file /data/films/Not.There.mp4','Traceback (most recent call last):
  File "/root/.stash/plugins/PlexSync/worker/processor.py", line 368, in _prepare
    target = self._match(job, scene, read_at)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/processor.py", line 390, in _match
    target = self._runner.prepare(job, scene, read_at)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 96, in prepare
    item = self.match(metadata, scene)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 118, in match
    match = self.plex.find(files)
            ^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/plex/session.py", line 141, in find
    match = find_items(
            ^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/plex/matcher.py", line 95, in find_items
    raise PlexNotFound(f"no Plex item has the file {files[0].path}")
plex.exceptions.PlexNotFound: no Plex item has the file /data/films/Not.There.mp4','{"files": [["/data/films/Not.There.mp4", 749000147]]}',0,1795281805.962527,'scene_50',1795281805.0388877);
INSERT INTO "dead_letters" VALUES(6,51,'{"scene_id": 51, "update_type": "metadata", "data": {"title": "Also Missing, saved", "missed": true}, "enqueued_at": 1795281807.9662557, "job_key": "scene_51", "retry_count": 12, "attempts": 12, "next_retry_at": 1795281825.533254, "last_error_type": "PlexNotFound"}','PlexNotFound','no Plex item has the file /data/films/Also.Missing.mkv','Traceback (most recent call last):
  File "/root/.stash/plugins/PlexSync/worker/processor.py", line 368, in _prepare
    target = self._match(job, scene, read_at)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/processor.py", line 390, in _match
    target = self._runner.prepare(job, scene, read_at)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 96, in prepare
    item = self.match(metadata, scene)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 118, in match
    match = self.plex.find(files)
            ^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/plex/session.py", line 141, in find
    match = find_items(
            ^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/plex/matcher.py", line 95, in find_items
    raise PlexNotFound(f"no Plex item has the file {files[0].path}")
plex.exceptions.PlexNotFound: no Plex item has the file /data/films/Also.Missing.mkv','{"files": [["/data/films/Also.Missing.mkv", 750000150]]}',12,1795281825.5447311,'scene_51',1795281807.9662557);
INSERT INTO "dead_letters" VALUES(8,25,'{"scene_id": 25, "update_type": "metadata", "data": {"missed": true}, "enqueued_at": 1795281827.9628217, "job_key": "scene_25"}','PlexPermanentError','Plex answered 400 bad_request','Traceback (most recent call last):
  File "/root/.stash/plugins/PlexSync/plex/exceptions.py", line 89, in translated
    yield
  File "/root/.stash/plugins/PlexSync/plex/client.py", line 289, in _query
    root: Element | None = server.query(
                           ^^^^^^^^^^^^^
  File "/usr/lib/python3/dist-packages/plexapi/server.py", line 758, in query
    raise BadRequest(message)
plexapi.exceptions.BadRequest: (400) bad_request; http://127.0.0.1:32400/library/sections/1/all?genre.locked=1&genre%5B0%5D.tag.tag=Drama&genre%5B1%5D.tag.tag=Sea&genre%5B%5D.tag.tag-=4K&id=75&title.locked=1&title.value=Marzipan%2C%20refused&type=1 

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/root/.stash/plugins/PlexSync/worker/write_pool.py", line 77, in _attempt
    return self._runner.write(target)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 162, in write
    edits, written = self._write_fields(target.item, target.metadata, target.switches)
                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/root/.stash/plugins/PlexSync/worker/job_runner.py", line 190, in _write_fields
    self.plex.write(item, edits)
  File "/root/.stash/plugins/PlexSync/plex/session.py", line 157, in write
    self.client().edit(item, parameters)
  File "/root/.stash/plugins/PlexSync/plex/client.py", line 246, in edit
    self._query(f"/library/sections/{item.library_key}/all{query}", "put")
  File "/root/.stash/plugins/PlexSync/plex/client.py", line 288, in _query
    with translated():
  File "/usr/lib/python3.11/contextlib.py", line 158, in __exit__
    self.gen.throw(typ, value, traceback)
  File "/root/.stash/plugins/PlexSync/plex/exceptions.py", line 93, in translated
    raise translate_plex_exception(error) from error
plex.exceptions.PlexPermanentError: Plex answered 400 bad_request',NULL,0,1795281827.9803405,'scene_25',1795281827.9628217);
CREATE UNIQUE INDEX one_letter_per_job ON dead_letters(job_key, enqueued_at);
CREATE INDEX letters_of_scene ON dead_letters(scene_id);
CREATE INDEX letters_by_time ON dead_letters(failed_at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('dead_letters',8);
COMMIT;
