"""The durable queue, and at the same time the standard library's `queue`.

This folder's name is given by others (`from queue.operations import …`), and urllib3, concurrent.futures,
logging and multiprocessing expect the standard module behind it. So every public name of that module is
here too, the very same object, loaded from the interpreter's own library when somebody first asks for one.
Where the standard module was imported first, `PlexSync.host_queue_package` lets it host our modules.

Rooms: may touch the disk below the data directory; imports `common` and persist-queue, nothing else of ours.
"""

from __future__ import annotations

from _thread import RLock  # a built-in module: the hook pays nothing for it

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_loading = RLock()


def __getattr__(name: str) -> object:
    """Return the standard library's `queue.<name>`.

    Raises:
        AttributeError: there is no such name.
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
    """Load the interpreter's own `queue` once, under its own name, so that pickles name it rightly."""
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
