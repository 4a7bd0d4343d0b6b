"""Sound reaches its listeners while it is made, over real sockets, and songs that nobody waits for are given up."""

import gc
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import uvicorn
from fake_engine import FakeEngine, FakeJob, make_in_pieces
from starlette.applications import Starlette
from starlette.middleware import Middleware

from kpop import server as live_room
from kpop.server import GONE, Audience, live_route, state_route
from kpop.settings import Settings

pytest.importorskip("streamlit")
from streamlit.web.server.starlette.starlette_gzip_middleware import SelectiveGZipMiddleware

ROOT = Path(__file__).parents[1]
PATIENCE_S = 5.0
PIECES = [bytes([number]) * 9600 for number in range(6)]


class Desk:
    """A server of the live route, with the page's own compression before it, and the jobs that it knows."""

    def __init__(self) -> None:
        self.jobs: dict[str, FakeJob] = {}
        self.audience = Audience()
        middleware = [Middleware(SelectiveGZipMiddleware)]
        routes = [state_route(lambda: {"running": len(self.jobs)}), live_route(self.jobs.get, self.audience)]
        app = Starlette(routes=routes, middleware=middleware)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()

    def job(self, **wishes) -> FakeJob:
        job = FakeJob(**wishes)
        self.jobs[job.id] = job
        return job

    def ask(self, path: str, method: str = "GET") -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        line.request(method, path, headers={"Accept-Encoding": "gzip"})
        return line, line.getresponse()

    def listen(self, job: FakeJob, query: str = "") -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        return self.ask(f"/live/{job.id}{query}")


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    wait_until(lambda: desk.server.started)
    yield desk
    for job in desk.jobs.values():
        job.cancel()
    desk.server.should_exit = True
    desk.thread.join(PATIENCE_S)


def wait_until(condition, timeout_s: float = PATIENCE_S) -> float:
    """How long it took, in seconds."""
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < timeout_s, "this never came to be"
        time.sleep(0.005)
    return time.monotonic() - started_s


def test_each_piece_arrives_as_soon_as_it_is_made(desk):
    job = desk.job()
    _, answer = desk.listen(job)
    for number, piece in enumerate(PIECES):
        started_s = time.monotonic()
        job.add(piece, last=number == len(PIECES) - 1)
        assert answer.read(len(piece)) == piece
        assert time.monotonic() - started_s < 0.2
    assert answer.read() == b""


def test_nothing_on_the_way_may_keep_or_pack_the_sound(desk):
    _, answer = desk.listen(desk.job())
    assert answer.headers["Content-Type"].startswith("audio/pcm")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers.get("Content-Encoding", "identity") == "identity"


def test_a_finished_song_is_heard_from_any_piece_on(desk):
    job = desk.job()
    for number, piece in enumerate(PIECES):
        job.add(piece, last=number == len(PIECES) - 1)
    for first in (0, 2, 6, 99):
        assert desk.listen(job, f"?from={first}")[1].read() == b"".join(PIECES[first:])


@pytest.mark.parametrize("first", ["-1", "x", "", "%C2%B2"])
def test_a_piece_that_is_no_number_is_answered_with_one_sentence(desk, first):
    job = desk.job()
    _, answer = desk.listen(job, f"?from={first}")
    assert (answer.status, job.n_listeners) == (400, 0)
    assert answer.read().endswith(b".")


def test_an_unknown_song_is_one_sentence(desk):
    _, answer = desk.ask("/live/no-such-song")
    assert (answer.status, answer.read().decode()) == (404, GONE)


def test_the_engine_tells_how_busy_it_is(desk):
    desk.job()
    line, answer = desk.ask("/live/state")
    assert json.loads(answer.read()) == {"running": 1}
    line.close()


def test_asking_for_the_headers_alone_is_not_listening(desk):
    job = desk.job()
    _, answer = desk.ask(f"/live/{job.id}", "HEAD")
    assert (answer.status, answer.read(), job.n_listeners) == (200, b"", 0)


def test_who_leaves_before_the_end_frees_the_place_at_once(desk):
    job = desk.job()
    line, answer = desk.listen(job)
    job.add(PIECES[0])
    answer.read(100)
    answer.close()
    line.close()
    assert wait_until(lambda: job.cancelled) < 0.2
    wait_until(lambda: not job.n_listeners)


def test_a_place_in_the_queue_is_given_up_as_well(desk):
    job = desk.job()
    line, answer = desk.listen(job)
    wait_until(lambda: job.n_listeners)
    answer.close()
    line.close()
    assert wait_until(lambda: job.cancelled) < 0.2


def test_a_song_goes_on_as_long_as_anybody_listens(desk):
    job = desk.job()
    line, answer = desk.listen(job)
    _, other = desk.listen(job)
    wait_until(lambda: job.n_listeners == 2)
    answer.close()
    line.close()
    wait_until(lambda: job.n_listeners == 1)
    time.sleep(0.3)
    assert not job.cancelled
    job.add(PIECES[0], last=True)
    assert other.read() == PIECES[0]


def test_who_heard_it_all_has_not_left_early(desk):
    job = desk.job()
    line, answer = desk.listen(job)
    job.add(PIECES[0], last=True)
    answer.read()
    line.close()
    time.sleep(0.3)
    assert not job.cancelled


def test_a_song_that_was_made_before_its_listener_came_is_kept_until_it_was_heard(desk):
    def alive() -> bool:
        return is_kept() is not None

    job = FakeJob()
    is_kept, job_id = weakref.ref(job), job.id
    desk.audience.expect(job)
    job.add(PIECES[0], last=True)
    job.end()
    del job
    gc.collect()
    assert alive()
    desk.jobs[job_id] = is_kept()
    _, answer = desk.listen(is_kept())
    assert answer.read() == PIECES[0]
    desk.jobs.clear()
    wait_until(lambda: gc.collect() >= 0 and not alive())


def test_a_song_that_fails_ends_its_stream(desk):
    job = desk.job()
    _, answer = desk.listen(job)
    job.add(PIECES[0])
    job.cancel()
    assert answer.read() == PIECES[0]


def test_a_song_that_never_ends_is_sent_at_the_speed_at_which_it_is_heard(desk, monkeypatch):
    monkeypatch.setattr(live_room, "LEAD_S", 1.0)
    job = desk.job(endless=True)
    threading.Thread(target=make_in_pieces, args=(job, 1000), daemon=True).start()
    _, answer = desk.listen(job)
    started_s, n_bytes = time.monotonic(), 0
    while time.monotonic() - started_s < 1.5:
        n_bytes += len(answer.read1())
    assert 1.5 <= n_bytes / live_room.BYTES_PER_S <= 1.5 + 1.0 + 1.2
    assert job.n_played > 2  # the engine knows what it may forget


def test_fifty_listeners_cost_no_thread_and_hear_the_same(desk):
    job = desk.job()
    n_threads = threading.active_count()
    answers = [desk.listen(job)[1] for _ in range(50)]
    wait_until(lambda: job.n_listeners == 50)
    started_s = time.process_time()
    for number, piece in enumerate(PIECES):
        job.add(piece, last=number == len(PIECES) - 1)
    assert all(answer.read() == b"".join(PIECES) for answer in answers)
    assert time.process_time() - started_s < 1.0
    assert threading.active_count() <= n_threads + 1


def test_find_waits_for_no_engine(monkeypatch):
    from kpop.ui import tasks as warming_room

    fake = FakeEngine(partial(make_in_pieces, speed=100))
    job = fake.submit(Settings(length_s=4), None)
    monkeypatch.setattr(warming_room, "HEAD_START_S", 0.2)
    monkeypatch.setitem(sys.modules, "kpop.engine", type("Module", (), {"engine": lambda: fake}))
    warming_room.warming.cache_clear()
    assert warming_room.find_job(job.id) is None
    wait_until(lambda: warming_room.warming().finished)
    assert warming_room.find_job(job.id) is job
    warming_room.warming.cache_clear()


SERVER = """
import sys, types
sys.path[:0] = ["tests"]
from fake_engine import FakeEngine, make_in_pieces
from kpop.show import warming
engine = FakeEngine(make_in_pieces)
sys.modules["kpop.engine"] = types.SimpleNamespace(engine=lambda: engine)
job = engine.submit(None, None, endless=True)
warming.HEAD_START_S = 0
warming.warming().result()
print(job.id, flush=True)
sys.argv = ["streamlit", "run", "app.py", "--server.port", sys.argv[1], "--server.headless", "true"]
from streamlit.web.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_streamlit_run_serves_page_and_sound_and_ctrl_c_ends_it_at_once():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            job_id = process.stdout.readline().strip()
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            wait_until(lambda: answers(line, "/_stcore/health"), 30)
            line.request("GET", f"/live/{job_id}")
            answer = line.getresponse()
            assert len(answer.read(32_000)) == 32_000
            started_s = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)
            assert time.monotonic() - started_s < 2.0
        finally:
            process.kill()


def answers(line: http.client.HTTPConnection, path: str) -> bool:
    try:
        line.request("GET", path)
        return line.getresponse().read() == b"ok"
    except OSError:
        line.close()
        return False
