"""An object in its own process, called over stdin and stdout with one line of JSON each way.

The simulators and the worker run in separate processes, so that their CPU time is not mixed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from typing import Any

from tests.benchmarks.measure import ROOT


class Remote:
    """Calls methods of the object that `python -m tests.benchmarks.<module>` serves."""

    def __init__(self, module: str) -> None:
        command = [sys.executable, "-X", "utf8", "-m", f"tests.benchmarks.{module}"]
        environ = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environ, text=True
        )

    def call(self, method: str, /, **arguments: Any) -> Any:
        """Raises:
        RuntimeError: the method failed; the text is its traceback.
        """
        assert self._process.stdin and self._process.stdout
        print(json.dumps([method, arguments]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {method} is gone: {self._process.wait()}")
        result, error = json.loads(line)
        if error:
            raise RuntimeError(error)
        return result

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def serve(target: object) -> None:
    """Serve calls until stdin ends. Output of `target` goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        method, arguments = json.loads(line)
        try:
            answer = [getattr(target, method)(**arguments), None]
        except Exception:  # noqa: BLE001 - told to the caller
            answer = [None, traceback.format_exc()]
        print(json.dumps(answer), file=answers, flush=True)
