"""Refuse connections to addresses that the test session did not register.

The root `conftest.py` loads this module, and puts its folder on PYTHONPATH: Python imports a module
of this name when it starts, so every child (hook, worker, task) is guarded too. Audit hooks see
every socket and need no import. A refusal looks like a port without a server; it is recorded, and
the record fails the test.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Environment variable: the session's folder of registered addresses (one file each) and refusals.
VARIABLE = "TESTS_PLEXSYNC_ADDRESSES"  # not PLEX…: the installer hides those from pip
NOTES = "refused.txt"
#: In a virtual environment: it loads this module by itself, whatever PYTHONPATH says.
GUARDED = "guarded"
_SENDING = ("socket.connect", "socket.sendto", "socket.sendmsg")
#: Python options that skip this module; such processes load no more than a hook does.
_WITHOUT = {"-S", "-I", "-E"}
_LOOKING_UP = ("socket.getaddrinfo", "socket.gethostbyname")

_folder = os.environ.get(VARIABLE, "")
#: Weak references to the sockets that this process bound to a port chosen by the system.
_own: "list[Any]" = []


class Refused(ConnectionRefusedError):
    """A test or its process tried to reach a server that the session did not start."""


def use(folder: str) -> None:
    """Use this folder of registered addresses."""
    global _folder
    _folder = folder


def file_name(host: str, port: int) -> str:
    """Return the file name of a registered address."""
    return f"{host.replace(':', '_')} {port}"


def _audit(event: str, arguments: "tuple[Any, ...]") -> None:
    if not _folder:
        return
    if event == "subprocess.Popen":
        _judge_child(arguments[1], arguments[3])
    elif not event.startswith("socket."):
        return
    elif event in _SENDING:
        _judge(event, arguments[1])
    elif event == "socket.bind":
        _judge_bind(arguments[0], arguments[1])
    elif event in _LOOKING_UP:
        _judge_name(event, arguments[0])


def _judge(event: str, address: object) -> None:
    """Refuse an unregistered internet address; allow local socket paths."""
    if isinstance(address, tuple) and not _is_known(str(address[0]), address[1]):
        _refuse(event, address)


def _judge_bind(sock: object, address: object) -> None:
    """Refuse a fixed port unless it is registered, as for a server that restarts."""
    if not isinstance(address, tuple):
        return
    if address[1] and not _is_known(str(address[0]), address[1]):
        _refuse("socket.bind", address)
    import _weakref

    try:
        _own.append(_weakref.ref(sock, _own.remove))
    except TypeError:  # the base type in `_socket`
        return


def _judge_name(event: str, host: object) -> None:
    """Refuse DNS lookups."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "")
    if name in ("", "localhost") or ":" in name or name.replace(".", "").isdigit():
        return
    if name != sys.modules["socket"].gethostname():
        _refuse(event, name)


def _judge_child(command: object, environ: "Any") -> None:
    """Record a Python process that starts without this guard, except with options that skip it."""
    words = list(command) if isinstance(command, (list, tuple)) else []
    program = os.path.basename(os.fsdecode(words[0])) if words else ""
    options = [str(word) for word in words[1:] if str(word)[:1] == "-"]
    if not program.startswith("python") or not _WITHOUT.isdisjoint(options):
        return
    given = os.environ if environ is None else environ
    folders = str(given.get("PYTHONPATH", "")).split(os.pathsep)
    here = os.path.dirname(os.path.abspath(__file__))
    by_itself = os.path.join(os.path.dirname(os.path.dirname(os.fsdecode(words[0]))), GUARDED)
    if not given.get(VARIABLE) or (here not in folders[:1] and not os.path.exists(by_itself)):
        _note(f"unguarded child {words!r} of {sys.orig_argv}")


def _is_known(host: str, port: int) -> bool:
    hosts = _same_machine(host)
    if any(os.path.exists(os.path.join(_folder, file_name(one, port))) for one in hosts):
        return True
    return any(sock is not None and _port(sock) == port for sock in [one() for one in list(_own)])


def _same_machine(host: str) -> tuple[str, ...]:
    """Return the addresses under which a server can be reached at `host`."""
    if host in ("localhost", "0.0.0.0", "::", ""):
        return ("127.0.0.1", "::1", "0.0.0.0", "::")
    return (host, "::") if ":" in host else (host, "0.0.0.0")


def _port(sock: "Any") -> int:
    try:
        return int(sock.getsockname()[1])
    except (OSError, ValueError, IndexError):  # closed, or not bound yet
        return 0


def _refuse(event: str, address: object) -> None:
    _note(f"{event} {address!r} in {sys.orig_argv}")
    raise Refused(111, f"{event}: {address!r} was not handed out by this session of tests")


def _note(text: str) -> None:
    with open(os.path.join(_folder, NOTES), "a", encoding="utf-8") as notes:
        notes.write(text.replace("\n", " ")[:500] + "\n")


def _run_next() -> None:
    """Run the next module of this name on the path, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    folders = [os.path.abspath(folder) for folder in sys.path]
    after = folders[folders.index(here) + 1 :] if here in folders else []
    for folder in after:
        file = os.path.join(folder, "sitecustomize.py")
        if folder != here and os.path.isfile(file):
            with open(file, "rb") as source:
                code = compile(source.read(), file, "exec")
            exec(code, {"__name__": "sitecustomize", "__file__": file})
            return


if __name__ == "sitecustomize" or not hasattr(sys.modules.get("sitecustomize"), "use"):
    sys.addaudithook(_audit)
if __name__ == "sitecustomize":
    if os.environ.get("PLEXSYNC_PAUSES"):
        __import__("pauses").begin()  # of this folder, which is on the path
    _run_next()
