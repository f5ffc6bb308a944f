"""The public names of section 4 of the contract: modules, classes, functions, parameters."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import PlexSync

#: The contract requires a default but does not name its value.
SOME_DEFAULT = object()
REQUIRED = inspect.Parameter.empty

#: name → its first parameters with their defaults; all further parameters must have a default
SIGNATURES: dict[str, list[tuple[str, Any]]] = {
    "PlexSync:initialize": [("config_dict", None)],
    "PlexSync:main": [],
    "PlexSync:handle_hook": [("hook_context", REQUIRED)],
    "PlexSync:shutdown": [],
    "PlexSync:get_plugin_data_dir": [],
    "PlexSync:extract_config_from_input": [("input_data", REQUIRED)],
    "queue.manager:QueueManager": [("data_dir", None)],
    "queue.manager:QueueManager.get_queue": [("self", REQUIRED)],
    "queue.manager:QueueManager.shutdown": [("self", REQUIRED)],
    "queue.models:create_sync_job": [
        ("scene_id", REQUIRED),
        ("update_type", REQUIRED),
        ("data", REQUIRED),
    ],
    "queue.operations:enqueue": [
        *(
            ("queue", REQUIRED),
            ("scene_id", REQUIRED),
            ("update_type", REQUIRED),
            ("data", REQUIRED),
        ),
    ],
    "queue.operations:get_pending": [("queue", REQUIRED), ("timeout", 0)],
    "queue.operations:ack_job": [("queue", REQUIRED), ("job", REQUIRED)],
    "queue.operations:nack_job": [("queue", REQUIRED), ("job", REQUIRED)],
    "queue.operations:fail_job": [("queue", REQUIRED), ("job", REQUIRED)],
    "queue.operations:get_stats": [("queue_path", REQUIRED)],
    "queue.operations:load_sync_timestamps": [("data_dir", REQUIRED)],
    "queue.operations:save_sync_timestamp": [
        ("data_dir", REQUIRED),
        ("scene_id", REQUIRED),
        ("timestamp", REQUIRED),
    ],
    "queue.dlq:DeadLetterQueue": [("data_dir", REQUIRED)],
    "queue.dlq:DeadLetterQueue.add": [
        *(("self", REQUIRED), ("job", REQUIRED), ("error", REQUIRED), ("retry_count", REQUIRED)),
    ],
    "queue.dlq:DeadLetterQueue.get_recent": [("self", REQUIRED), ("limit", 10)],
    "queue.dlq:DeadLetterQueue.get_by_id": [("self", REQUIRED), ("dlq_id", REQUIRED)],
    "queue.dlq:DeadLetterQueue.get_count": [("self", REQUIRED)],
    "queue.dlq:DeadLetterQueue.delete_older_than": [("self", REQUIRED), ("days", 30)],
    "hooks.handlers:requires_plex_sync": [("update_data", REQUIRED)],
    "hooks.handlers:on_scene_update": [
        *(("scene_id", REQUIRED), ("update_data", REQUIRED), ("queue", REQUIRED)),
        *(("data_dir", None), ("sync_timestamps", None)),
    ],
    "hooks.handlers:mark_scene_pending": [("scene_id", REQUIRED)],
    "hooks.handlers:unmark_scene_pending": [("scene_id", REQUIRED)],
    "hooks.handlers:is_scene_pending": [("scene_id", REQUIRED)],
    "worker.processor:SyncWorker": [
        *(("queue", REQUIRED), ("dlq", REQUIRED), ("config", REQUIRED)),
        *(("data_dir", None), ("max_retries", 5)),
    ],
    "worker.processor:SyncWorker.start": [("self", REQUIRED)],
    "worker.processor:SyncWorker.stop": [("self", REQUIRED)],
    "worker.processor:SyncWorker._process_job": [("self", REQUIRED), ("job", REQUIRED)],
    "worker.processor:SyncWorker._update_metadata": [
        *(("self", REQUIRED), ("plex_item", REQUIRED), ("data", REQUIRED)),
    ],
    "worker.processor:SyncWorker._get_plex_client": [("self", REQUIRED)],
    "worker.backoff:calculate_delay": [
        *(("retry_count", REQUIRED), ("base", REQUIRED), ("cap", REQUIRED), ("jitter_seed", None)),
    ],
    "worker.backoff:get_retry_params": [("error", REQUIRED)],
    "worker.circuit_breaker:CircuitBreaker": [
        *(("failure_threshold", 5), ("recovery_timeout", 60.0), ("success_threshold", 1)),
    ],
    "worker.circuit_breaker:CircuitBreaker.can_execute": [("self", REQUIRED)],
    "worker.circuit_breaker:CircuitBreaker.record_success": [("self", REQUIRED)],
    "worker.circuit_breaker:CircuitBreaker.record_failure": [("self", REQUIRED)],
    "worker.circuit_breaker:CircuitBreaker.reset": [("self", REQUIRED)],
    "plex.client:PlexClient": [
        *(("url", REQUIRED), ("token", REQUIRED)),
        *(("connect_timeout", SOME_DEFAULT), ("read_timeout", SOME_DEFAULT)),
    ],
    "plex.client:PlexClient.get_library": [("self", REQUIRED), ("name", REQUIRED)],
    "plex.exceptions:translate_plex_exception": [("exc", REQUIRED)],
    "plex.matcher:find_plex_item_by_path": [("library", REQUIRED), ("stash_path", REQUIRED)],
    "plex.matcher:find_plex_items_with_confidence": [
        ("library", REQUIRED),
        ("stash_path", REQUIRED),
    ],
    "validation.config:PlexSyncConfig.log_config": [("self", REQUIRED)],
    # one argument, of any name
    "validation.config:validate_config": [SOME_DEFAULT],  # type: ignore[list-item]
    "validation.metadata:validate_metadata": [SOME_DEFAULT],  # type: ignore[list-item]
    "validation.sanitizers:sanitize_for_plex": [("text", REQUIRED), ("max_length", 255)],
    "validation.errors:classify_http_error": [("status", REQUIRED)],
    "validation.errors:classify_exception": [("exc", REQUIRED)],
}
CLASSES = (
    *("queue.models:SyncJob", "worker.processor:TransientError", "worker.processor:PermanentError"),
    *(
        "plex.exceptions:PlexTemporaryError",
        "plex.exceptions:PlexPermanentError",
        "plex.exceptions:PlexNotFound",
    ),
    *("plex.matcher:MatchConfidence", "worker.circuit_breaker:CircuitState"),
    *("validation.config:PlexSyncConfig", "validation.metadata:SyncMetadata"),
)
#: (module, names that must exist in it, even if another module defines them)
REPLACEABLE = (
    (
        "worker.processor",
        ("find_plex_items_with_confidence", "save_sync_timestamp", "unmark_scene_pending"),
    ),
    ("hooks.handlers", ("load_sync_timestamps", "is_scene_pending", "mark_scene_pending")),
    ("queue.operations", ("load_sync_timestamps", "save_sync_timestamp")),
)


def find(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_has_the_contracts_signature(name: str) -> None:
    function: Callable[..., Any] = find(name)
    parameters = list(inspect.signature(function).parameters.values())
    expected = SIGNATURES[name]
    assert len(parameters) >= len(expected)
    for parameter, wanted in zip(parameters, expected, strict=False):
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        if wanted is SOME_DEFAULT:
            continue
        assert parameter.name == wanted[0]
        if wanted[1] is SOME_DEFAULT:
            assert parameter.default is not REQUIRED
        elif wanted[1] is REQUIRED or wanted[1] is None:
            assert parameter.default is wanted[1]
        else:
            assert parameter.default == wanted[1]
    for parameter in parameters[len(expected) :]:
        assert parameter.default is not REQUIRED, f"{name}: {parameter.name} needs a default"


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_of_the_contract_exists(name: str) -> None:
    assert isinstance(find(name), type)


@pytest.mark.parametrize(("module", "names"), REPLACEABLE)
def test_a_module_has_the_names_that_tests_replace(module: str, names: tuple[str, ...]) -> None:
    for name in names:
        assert callable(getattr(importlib.import_module(module), name))


def test_the_exceptions_have_the_base_classes_of_the_contract() -> None:
    transient, permanent = (
        find("worker.processor:TransientError"),
        find("worker.processor:PermanentError"),
    )
    assert issubclass(transient, Exception)
    assert issubclass(permanent, Exception)
    assert not issubclass(transient, permanent)
    assert not issubclass(permanent, transient)
    assert issubclass(find("plex.exceptions:PlexTemporaryError"), transient)
    assert issubclass(find("plex.exceptions:PlexPermanentError"), permanent)
    assert issubclass(find("plex.exceptions:PlexNotFound"), transient)
    assert find("validation.errors:TransientError") is transient
    assert find("validation.errors:PermanentError") is permanent


def test_the_enumerations_have_their_members() -> None:
    assert {member.name for member in find("plex.matcher:MatchConfidence")} == {"HIGH", "LOW"}
    assert {member.name for member in find("worker.circuit_breaker:CircuitState")} == {
        "CLOSED",
        "OPEN",
        "HALF_OPEN",
    }


def test_server_and_state_are_properties() -> None:
    assert isinstance(inspect.getattr_static(find("plex.client:PlexClient"), "server"), property)
    breaker = find("worker.circuit_breaker:CircuitBreaker")()
    assert breaker.state is find("worker.circuit_breaker:CircuitState").CLOSED


def test_a_job_has_its_keys() -> None:
    job = find("queue.models:create_sync_job")(7, "metadata", {"title": "T"})
    assert type(job) is dict
    assert set(job) == {"scene_id", "update_type", "data", "enqueued_at", "job_key"}
    assert (job["scene_id"], job["job_key"], type(job["enqueued_at"])) == (7, "scene_7", float)


def test_statistics_have_their_keys(tmp_path: Any) -> None:
    assert find("queue.operations:get_stats")(str(tmp_path)) == {
        "pending": 0,
        "in_progress": 0,
        "completed": 0,
        "failed": 0,
    }


def test_validators_return_pairs() -> None:
    config, error = find("validation.config:validate_config")(
        {"plex_url": "http://plex:32400", "plex_token": "t" * 20}
    )
    assert isinstance(config, find("validation.config:PlexSyncConfig"))
    assert error is None
    config, error = find("validation.config:validate_config")({})
    assert config is None
    assert isinstance(error, str)
    model, error = find("validation.metadata:validate_metadata")({"scene_id": 7, "title": "T"})
    assert isinstance(model, find("validation.metadata:SyncMetadata"))
    assert error is None


def test_errors_are_classified_by_types() -> None:
    assert find("validation.errors:classify_http_error")(503) is find(
        "worker.processor:TransientError"
    )
    assert issubclass(
        find("validation.errors:classify_http_error")(400), find("worker.processor:PermanentError")
    )
    assert issubclass(find("validation.errors:classify_exception")(KeyError("x")), Exception)


def test_initialize_hands_the_loader_of_sync_timestamps_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Other programs replace that name, and read the function's source."""
    monkeypatch.setenv("STASH_PLUGIN_DATA", str(tmp_path))
    (tmp_path / "sync_timestamps.json").write_text('{"7":oops}', encoding="utf-8")
    assert "load_sync_timestamps" in inspect.getsource(PlexSync.initialize)
    monkeypatch.setattr("queue.operations.load_sync_timestamps", lambda data_dir: {7: 2e9})
    PlexSync.initialize()
    try:
        hook_context = {
            "type": "Scene.Update.Post",
            "id": 7,
            "input": {"id": "7", "title": "T", "updated_at": 1e9},
        }
        assert PlexSync.handle_hook(hook_context)["queued"] is False
    finally:
        PlexSync.shutdown()
