"""The page in a process of its own, and how much memory it takes."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from kpop.errors import KpopError

ROOT = Path(__file__).parents[2]
START_S = 60.0
STOP_S = 20.0
HEALTH = "/_stcore/health"
POLL_S = 0.02
WATCH_EVERY_S = 0.2
MEGABYTE = 1 << 20


class Server:
    """`streamlit run app.py` on a free port; a context manager that ends it.

    models: folder of the weights, None: those that we ship
    """

    def __init__(self, models: Path | None = None) -> None:
        self.port = _free_port()
        self.address = f"http://localhost:{self.port}"
        options = [f"--server.port={self.port}", "--server.headless=true"]
        self._notes = tempfile.TemporaryDirectory()  # what these listeners like is not to be kept
        environment = os.environ | {"TWICE4LIFE_FEEDBACK": f"{self._notes.name}/feedback.sqlite"}
        environment |= {"KPOP_MODELS_DIR": str(models)} if models else {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, open as long as the process
        self.started_s = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", *options],
            cwd=ROOT,
            env=environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> "Server":
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process, by force if it does not go."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
        self._notes.cleanup()

    def log(self) -> str:
        """All that it has printed so far."""
        return os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace")

    def memory_mb(self) -> float:
        """Resident memory of the process and its children."""
        return memory_mb(self.process.pid)

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.address + HEALTH, timeout=1).close()
                return
            except (OSError, urllib.error.URLError):
                time.sleep(POLL_S)
        raise KpopError(f"The page did not start: run `streamlit run app.py` and see why.\n{self.log()[-2000:]}")


def memory_mb(pid: int) -> float:
    """Resident megabytes of a process and all below it; shared pages count for each. 0 once it has ended."""
    return sum(_resident_bytes(each) for each in (pid, *_descendants(pid))) / MEGABYTE


def own_memory_mb() -> float:
    """Resident memory of this process."""
    return memory_mb(os.getpid())


class MemoryWatch:
    """The highest memory of a server while the context lasts, in `peak_mb`; before and after it, too."""

    def __init__(self, server: Server) -> None:
        self.server, self.peak_mb, self.before_mb, self.after_mb = server, 0.0, 0.0, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self.before_mb = self.peak_mb = self.server.memory_mb()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.after_mb = self.server.memory_mb()
        self.peak_mb = max(self.peak_mb, self.after_mb)

    def _watch(self) -> None:
        while not self._over.wait(WATCH_EVERY_S):
            self.peak_mb = max(self.peak_mb, self.server.memory_mb())


def _resident_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def _descendants(pid: int) -> list[int]:
    """Process ids of children, their children and so on."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text(encoding="utf-8").split()]
        except OSError:
            continue
        found += [each for child in children for each in (child, *_descendants(child))]
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
