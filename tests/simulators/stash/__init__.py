"""A simulator of Stash for tests and the demo.

with StashSimulator(plugins_dir=folder) as stash:
    scene = stash.add_scene("A title", files=[("/data/a.mp4", 123)], tags=["One"])
    result = stash.save_scene(scene.id, title="Another")  # runs the plugins' hooks, as Stash does
    result.hooks[0].output, result.blocked_seconds
"""

from tests.simulators.stash.events import HookContext, hook_input, task_input
from tests.simulators.stash.jobs import Job
from tests.simulators.stash.library import NotFound, Scene, Snapshot, VideoFile
from tests.simulators.stash.manifest import Manifest, ManifestError, load_manifest, load_plugins
from tests.simulators.stash.pluginlog import LogLine
from tests.simulators.stash.plugins import Caller
from tests.simulators.stash.runner import HookRun
from tests.simulators.stash.simulator import GraphQLFailure, SaveResult, StashSimulator

__all__ = [
    "Caller", "GraphQLFailure", "HookContext", "HookRun", "Job", "LogLine", "Manifest",
    "ManifestError", "NotFound", "SaveResult", "Scene", "Snapshot", "StashSimulator", "VideoFile",
    "hook_input", "load_manifest", "load_plugins", "task_input",
]  # fmt: skip
