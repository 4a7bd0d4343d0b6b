"""A song's URL, over real sockets: the bytes of the WAV file as they are made, in any range, while the song lives."""

import gc
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from test_engine import wait_for

from kpop import server
from kpop.audio.io import BYTES_PER_S
from kpop.engine import PcmBuffer
from kpop.server import NOT_FOUND, SongFile, byte_range, song_routes

pytest.importorskip("streamlit")
from streamlit.web.server.starlette.starlette_gzip_middleware import SelectiveGZipMiddleware

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 5.0
N_SAMPLES = 40_000
PCM = bytes(range(256)) * (2 * N_SAMPLES // 256) + bytes(2 * N_SAMPLES % 256)
PIECES = [PCM[start : start + 16_000] for start in range(0, len(PCM), 16_000)]


@pytest.fixture
def port() -> Iterator[int]:
    """A server of the song routes behind the page's compression."""
    routes, middleware = song_routes(lambda: {"running": 1}, "/base"), [Middleware(SelectiveGZipMiddleware)]
    app = Starlette(routes=routes, middleware=middleware)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
        thread.start()
        wait_for(lambda: running.started)
        yield listener.getsockname()[1]
        running.should_exit = running.force_exit = True
        thread.join(TIMEOUT_S)


def new_file(n_samples: int | None = N_SAMPLES, made: bytes = PCM, cancel=lambda: None) -> SongFile:
    pcm = PcmBuffer(n_samples)
    pcm.append(made, last=n_samples is not None and len(made) == 2 * n_samples)
    return SongFile(pcm, "twice4life-song.wav", {"INAM": "A title"}, cancel)


def get(port: int, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    """Closing the response closes its connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request(method, path, headers={"Accept-Encoding": "gzip", "Connection": "close"} | headers)
    return connection.getresponse()


def test_each_piece_arrives_as_soon_as_it_is_made_and_all_together_are_the_file(port):
    file = new_file(made=b"")
    response = get(port, file.url("/base"))
    received = response.read(len(file.header))
    for piece in PIECES:
        started_s = time.monotonic()
        file.pcm.append(piece, last=piece is PIECES[-1])
        received += response.read(len(piece))
        assert time.monotonic() - started_s < 0.2
    assert response.read() == b""
    assert received == file.read()
    assert int(response.headers["Content-Length"]) == len(received)
    assert response.headers["Content-Type"] == "audio/wav"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Encoding"] == "identity"
    with soundfile.SoundFile(io.BytesIO(received)) as sound:
        assert (sound.frames, sound.samplerate, sound.title) == (N_SAMPLES, 16_000, "A title")


RANGES = {"bytes=0-99": (0, 100), "bytes=100-": (100, 1000), "bytes=-10": (990, 1000), "bytes=-5000": (0, 1000)}
RANGES |= {"bytes=990-2000": (990, 1000), "bytes=1000-": (1000, 1000), "bytes=-0": (1000, 1000)}
RANGES |= dict.fromkeys(("bytes=5-2", "bytes=-", "bytes=0-1,4-5", "seconds=0-1", ""))


@pytest.mark.parametrize("header", RANGES)
def test_ranges_are_read_as_in_rfc_9110(header):
    assert byte_range(header, 1000) == RANGES[header]


def test_a_range_is_answered_while_the_song_is_made_and_afterwards(port):
    file = new_file(made=PIECES[0])
    url, start = file.url("/base"), len(file.header) + 20_000
    response = get(port, url, Range=f"bytes={start}-{start + 99}")
    assert (response.status, response.headers["Content-Range"]) == (206, f"bytes {start}-{start + 99}/{file.n_bytes}")
    for piece in PIECES[1:]:
        file.pcm.append(piece, last=piece is PIECES[-1])
    assert response.read() == PCM[20_000:20_100] == get(port, url, Range=f"bytes={start}-{start + 99}").read()
    assert get(port, url, Range=f"bytes={file.n_bytes}-").status == 416


def test_download_is_the_same_file_by_its_name_head_is_its_headers_and_the_engine_says_how_busy_it_is(port):
    file = new_file()
    response = get(port, file.url("/base") + "?download=1")
    assert response.headers["Content-Disposition"] == 'attachment; filename="twice4life-song.wav"'
    assert response.read() == file.read()
    assert json.loads(get(port, "/base/songs/state").read()) == {"running": 1}
    head = get(port, file.url("/base"), "HEAD")
    assert (head.read(), head.headers["Content-Length"], file.n_listeners) == (b"", str(file.n_bytes), 0)


def test_urls_cannot_be_guessed_and_expire_with_what_refers_to_the_file(port):
    cancelled = threading.Event()
    file, other = new_file(cancel=cancelled.set), new_file()
    url = file.url("/base")
    assert len(file.id) >= 16
    assert file.id != other.id
    del file
    gc.collect()
    assert cancelled.is_set()
    assert get(port, url).status == 204
    for gone in (f"{url}?download=1", url.replace(".wav", "x.wav")):
        response = get(port, gone)
        assert (response.status, response.read().decode()) == (404, NOT_FOUND)


@pytest.mark.parametrize(("n_samples", "ends"), [(N_SAMPLES, False), (None, True)])
def test_only_an_endless_song_is_cancelled_once_its_last_listener_has_left(port, monkeypatch, n_samples, ends):
    monkeypatch.setattr(server, "GRACE_S", 0.05)
    cancelled = threading.Event()
    file = new_file(n_samples, PIECES[0], cancelled.set)
    first, second = (get(port, file.url("/base")) for _ in range(2))
    wait_for(lambda: file.n_listeners == 2)
    first.close()
    wait_for(lambda: file.n_listeners == 1)
    assert not cancelled.wait(0.2)
    second.close()
    wait_for(lambda: file.n_listeners == 0)
    assert cancelled.wait(TIMEOUT_S if ends else 0.2) is ends


def test_an_endless_song_is_sent_little_faster_than_it_is_heard_and_forgotten_behind(port, monkeypatch):
    monkeypatch.setattr(server, "LEAD_S", 1.0)
    file = new_file(None, bytes(32_000 * 60))
    response, n_bytes, started_s = get(port, file.url("/base")), 0, time.monotonic()
    while time.monotonic() - started_s < 1.5:
        n_bytes += len(response.read(8000))
    assert 1.5 < n_bytes / BYTES_PER_S < 1.5 + 1.0 + 2.5
    assert file.pcm.n_read > 0
    response.close()


def test_a_cancelled_song_ends_its_response_without_an_error(port, caplog):
    file = new_file(made=PIECES[0])
    response = get(port, file.url("/base"))
    assert response.read(len(file.header) + 16_000) == file.read()
    file.pcm.close()
    response.close()
    wait_for(lambda: not file.n_listeners)
    assert caplog.text == ""


def test_fifty_listeners_cost_no_thread_and_hear_the_same(port):
    file, n_threads = new_file(made=b""), threading.active_count()
    responses = [get(port, file.url("/base")) for _ in range(50)]
    wait_for(lambda: file.n_listeners == 50)
    started_s = time.process_time()
    for piece in PIECES:
        file.pcm.append(piece, last=piece is PIECES[-1])
    assert all(response.read() == file.read() for response in responses)
    assert time.process_time() - started_s < 2.0
    assert threading.active_count() <= n_threads + 1
