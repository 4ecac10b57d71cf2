"""MLflow's own page of a run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from naivegraph.errors import TrackError
from naivegraph.optional_package import optional_package
from naivegraph.track.tracked_run import TrackedRun

__all__ = ["page_of"]

_PATIENCE = 120.0  # seconds for a server to start


@contextlib.contextmanager
def page_of(run: TrackedRun, *, port: int | None = None) -> Iterator[str]:
    """Give the address of MLflow's page of a run; where runs are in a file, a server shows it in this block.

    Args:
        run: The run.
        port: The port of this machine for the server; a free one if None.

    Raises:
        TrackError: The server does not start.
        MissingPackageError: Only mlflow-skinny is installed, which has no pages.
    """
    experiment = run.experiment
    if run.store.uri.startswith("http"):
        yield f"{run.store.uri.rstrip('/')}/#/experiments/{experiment}/runs/{run.id}"
        return
    optional_package("flask", "track", "MLflow's page")
    chosen = _free_port() if port is None else port
    words = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", run.store.uri]
    words += ["--default-artifact-root", (run.store.folder / "artifacts").as_uri()]
    words += ["--host", "127.0.0.1", "--port", str(chosen), "--workers", "1"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{chosen}"
            _wait(server, address)
            yield f"{address}/#/experiments/{experiment}/runs/{run.id}"
        finally:
            _end(server)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (OSError, urllib.error.URLError) as error:
            if server.poll() is not None or time.monotonic() > until:
                raise TrackError(
                    f"MLflow's server did not start at {address} ({error}): give another port, or try "
                    "`mlflow server` by itself"
                ) from error
            time.sleep(0.2)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server and the processes it has started."""
    for sign in (signal.SIGTERM, signal.SIGKILL if os.name == "posix" else signal.SIGTERM):
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(server.pid, sign)
            else:
                server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10)
            if sign is not signal.SIGTERM:
                return
