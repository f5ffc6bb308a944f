"""Jobs, commands, dead letters and sync timestamps, durable; also provides the standard `queue`.

The package's name is part of the interface (`from queue.operations import …`), but urllib3,
concurrent.futures, logging and multiprocessing import the standard module under the same name. So
this package exports every public name of the standard module too: the same objects, loaded on first
use. If the standard module was imported first, `PlexSync.host_queue_package` makes the modules of
this package importable below it.

Imports `common`, and persist-queue in `ack_queue`. Writes only below the data directory.
"""

from __future__ import annotations

from _thread import RLock  # built in, so it costs the hook nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_loading = RLock()


def __getattr__(name: str) -> object:
    """Return the standard library's `queue.<name>`.

    Raises:
        AttributeError: no such name.
    """
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    standard = _standard_queue()
    try:
        value: object = getattr(standard, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_standard_queue().__all__})


def _standard_queue() -> ModuleType:
    """Load the standard `queue` once; keep its name `queue`, which pickles refer to."""
    with _loading:
        loaded: ModuleType | None = globals().get("_standard")
        if loaded is None:
            loaded = globals()["_standard"] = _load_standard_queue()
        return loaded


def _load_standard_queue() -> ModuleType:
    import os
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("queue", [os.path.dirname(os.__file__)])
    if spec is None or spec.loader is None:
        raise ImportError(
            "the standard library's queue module was not found beside os", name="queue"
        )
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
