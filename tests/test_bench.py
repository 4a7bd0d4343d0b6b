"""The benchmark judges playback as a listener does, and measures songs and a server under load."""

import shutil
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kpop import bench
from kpop.bench import Playback, Row, playback
from kpop.errors import KpopError
from kpop.generation.clips import CLIPS_DIR


@pytest.mark.parametrize(
    ("first_sound_s", "n_underruns", "arrivals"),
    [
        (0.3, 0, [(0.1, 100_000), (0.3, 240_000), (0.9, 960_000)]),
        (0.4, 0, [(0.1, 100_000), (0.4, 128_000)]),  # all of a short file
        (1.0, 2, [(1.0, 240_000), (10.0, 272_000), (10.9, 304_000), (13.0, 336_000)]),  # 7.5 s of sound, 1 s, 1 s
        (1.0, 0, [(1.0, 240_000), (8.4, 272_000)]),
    ],
)
def test_sound_starts_as_in_chromium_and_each_gap_is_an_underrun(first_sound_s, n_underruns, arrivals):
    assert playback(arrivals) == Playback(first_sound_s, arrivals[-1][0], n_underruns)


def test_a_row_says_whether_its_target_is_met():
    assert str(Row("first sound", 2.5, "s", 3.0)).endswith("2.5 s   wanted <= 3: met")
    assert str(Row("underruns", 1, "", 0)).endswith("wanted <= 0: MISSED")
    assert str(Row("memory", float("nan"), "MB", 700)).endswith("MISSED")
    assert "wanted" not in str(Row("seed", 0.1, "s"))


def test_generation_is_measured_stage_by_stage(tiny_model, monkeypatch):
    monkeypatch.setattr(bench, "checkpoint_path", lambda name: tiny_model)
    monkeypatch.setattr(bench, "SONG_S", 4.0)
    rows = {row.name: row.value for row in bench.generation_rows(1)}
    assert {"sampler: a step of 50 songs", "- render", "- sampler"} <= set(rows)
    assert rows.pop("- ours") < rows.pop("- its spectral convergence") < 0
    assert min(rows.values()) > 0


def test_listeners_of_a_real_server_get_whole_songs(tiny_model, tmp_path, monkeypatch):
    shutil.copytree(CLIPS_DIR, tmp_path / "clips")
    shutil.copy(tiny_model, tmp_path / "twice4life.safetensors")
    monkeypatch.setenv("KPOP_MODELS_DIR", str(tmp_path))
    rows = {row.name: row.value for row in bench.load_rows([2], n_rounds=1)}
    assert 0 < rows["2 listeners: first sound, median"] <= rows["- 95th percentile"] <= rows["- last song complete"]
    assert rows["- memory of the server without the page"] > 50


@pytest.mark.parametrize(("part", "reason"), [(b"", "timed out"), (b"-", "not complete after 0.5 s")])
def test_a_server_that_sends_nothing_or_never_ends_is_left_in_time(part, reason, monkeypatch):
    class SlowSong(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n/song.wav")

        def do_GET(self) -> None:
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            with suppress(OSError):
                while not is_over.wait(0.01):
                    self.wfile.write(part)

    is_over = threading.Event()
    monkeypatch.setattr(bench, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(bench, "SONG_TIMEOUT_S", 0.5)
    with ThreadingHTTPServer(("127.0.0.1", 0), SlowSong) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(KpopError, match=reason):
            bench.listen(server.server_port, 0)
        is_over.set()
        server.shutdown()


def test_a_server_that_does_not_start_and_a_browser_that_is_not_there_are_one_sentence(monkeypatch):
    with pytest.raises(KpopError, match="did not start"), bench.serving(("kpop", "sing"), "/"):
        pass
    monkeypatch.setattr(bench.shutil, "which", lambda program: None)
    with pytest.raises(KpopError, match="needs Chromium"):
        next(bench.page_rows(1))
