"""Speed of each stage, and of the server under load, in one table beside the targets.

Load is measured from outside: this process plays N listeners, each of whom submits a song to a server in a process of
its own, reads it over HTTP like a browser, and would begin to play it when Chromium does.
"""

import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, count, islice
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kpop.audio.io import BYTES_PER_S
from kpop.audio.stft import WINDOW, stft
from kpop.constants import HOP_LENGTH, N_FFT
from kpop.engine import get_engine
from kpop.errors import KpopError
from kpop.generation.clips import built_in_clip, built_in_clips
from kpop.generation.metadata import song_tags
from kpop.generation.pipeline import Pipeline, magnitude_copy
from kpop.generation.session import CHUNK_STEPS, MIN_P, generate
from kpop.lstm.sampler import Chunk
from kpop.model_info import DEFAULT_MODEL, checkpoint_path
from kpop.server import SongFile, song_routes
from kpop.settings import Settings

ROOT = Path(__file__).parents[1]
SONG_S = 30.0
BATCH_SIZES = (1, 20, 50)
TARGET_LISTENERS = 20
START_BYTES = 230_000  # after so much of a WAV file, or all of it, Chromium begins to play it
TIMEOUT_S, SONG_TIMEOUT_S = 120.0, 300.0  # of a start or an answer; of a whole song
POLL_S = 0.02
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAUSE_MS = 3_000  # between two clicks: the song before is finished
# Sets firstSoundS to the seconds from the next click to the moment at which playback of another song has advanced.
FIRST_SOUND = """() => {
  const audio = () => document.querySelector(".player-audio:not([hidden])"), former = audio()?.src;
  window.firstSoundS = 0;
  document.addEventListener("click", () => {
    const clickedMs = performance.now();
    (function look() {
      const now = audio(), isPlaying = now?.src && now.src !== former && !now.paused && now.currentTime > 0;
      isPlaying ? window.firstSoundS = (performance.now() - clickedMs) / 1000 : requestAnimationFrame(look);
    })();
  }, {capture: true, once: true});
}"""


@dataclass(frozen=True)
class Row:
    """One line of the table. target: the highest value that is wanted; None: there is no target."""

    name: str
    value: float
    unit: str = ""
    target: float | None = None

    def __str__(self) -> str:
        verdict = "met" if self.target is not None and self.value <= self.target else "MISSED"
        wanted = "" if self.target is None else f"wanted <= {self.target:g}: {verdict}"
        return f"{self.name:<54} {self.value:8.3g} {self.unit:<3} {wanted}".rstrip()


def run(listener_counts: list[int], quick: bool, browser: bool) -> None:
    """Measure, and print the table row by row. quick: fewer repetitions; browser: the page in Chromium too.

    Raises KpopError when a server cannot be started or fails its listeners, and when Chromium is missing.
    """
    parts = [generation_rows(2 if quick else 9), load_rows(listener_counts, 1 if quick else 3)]
    for row in chain(*parts, page_rows(3 if quick else 10) if browser else ()):
        print(row, flush=True)


def generation_rows(n_rounds: int) -> Iterator[Row]:
    """The sampler alone, and a song of SONG_S seconds in one thread beside librosa's inversion; medians of n_rounds."""
    import librosa  # here, because the server under load must not pay for these

    from kpop.evaluation.fidelity import spectral_convergence_db

    pipeline, clip = Pipeline.load(checkpoint_path(DEFAULT_MODEL)), built_in_clip(Settings().clip)
    generate(pipeline, Settings(length_s=4.0, randomness=1.0), clip)  # compiles
    for n_songs in BATCH_SIZES:
        yield Row(f"sampler: a step of {n_songs} songs", 1000 * step_time_s(pipeline, n_songs, 3 * n_rounds), "ms")
    rounds = []
    for number in range(n_rounds):
        song = generate(pipeline, Settings(length_s=SONG_S, seed_number=number), clip)
        magnitude = np.abs(stft(song.waveform))
        started_s = time.perf_counter()
        copy = librosa.griffinlim(WINDOW.sum() / 2 * magnitude.T, n_fft=N_FFT, hop_length=HOP_LENGTH, random_state=0)
        rounds.append({"song": song.taken_s, "librosa": time.perf_counter() - started_s} | song.seconds_taken)
    song_s, librosa_s, *stages_s = np.transpose([[*each.values()] for each in rounds])
    yield Row(f"a song of {SONG_S:g} s, end to end in one thread", float(np.median(song_s)), "s")
    for stage, stage_s in zip(song.seconds_taken, stages_s, strict=True):
        yield Row(f"- {stage}", float(np.median(stage_s)), "s")
    yield Row("librosa.griffinlim alone, same magnitudes", float(np.median(librosa_s)), "s")
    yield Row("- the whole song / librosa.griffinlim", float(np.median(song_s / librosa_s)), "", 0.6)
    error_db = spectral_convergence_db(magnitude, copy)
    yield Row("- its spectral convergence", error_db, "dB")
    yield Row("- ours", spectral_convergence_db(magnitude, magnitude_copy(song.waveform)), "dB", error_db)


def step_time_s(pipeline: Pipeline, n_songs: int, n_rounds: int) -> float:
    """Median seconds of one sampler step of a batch of n_songs, in one thread."""
    state, rng, times_s = pipeline.batch_state(n_songs), np.random.default_rng(0), []
    for number in range(n_rounds + 1):
        positions = np.arange(CHUNK_STEPS) + number * CHUNK_STEPS
        uniforms = rng.random((n_songs, CHUNK_STEPS, pipeline.n_codebooks))
        chunks = [Chunk(slot, positions, uniforms=uniforms[slot], min_p=MIN_P) for slot in range(n_songs)]
        started_s = time.perf_counter()
        pipeline.sampler.run(state, chunks)
        times_s.append((time.perf_counter() - started_s) / CHUNK_STEPS)
    return float(np.median(times_s[1:]))


def load_app() -> Starlette:
    """The server under load: POST /songs?clip=...&seed_number=... submits a song, and answers with its URL."""
    engine, files = get_engine(), []  # a song's URL works as long as its file is referred to

    def submit(request: Request) -> PlainTextResponse:
        query = request.query_params
        settings = Settings(length_s=SONG_S, clip=query["clip"], seed_number=int(query["seed_number"]))
        job = engine.submit(settings, built_in_clip(settings.clip))
        files.append(SongFile(job.pcm, "song.wav", song_tags(settings), lambda: None))
        return PlainTextResponse(files[-1].url())

    return Starlette(routes=[Route("/songs", submit, methods=["POST"]), *song_routes(engine.state)])


@dataclass(frozen=True)
class Playback:
    """What one listener gets: seconds from the request to the first sound and to the last byte, and gaps between."""

    first_sound_s: float
    finished_s: float
    n_underruns: int


def playback(arrivals: list[tuple[float, int]]) -> Playback:
    """arrivals: seconds since the request and bytes of the file that are there, in order; the last one has all."""
    n_start = min(START_BYTES, arrivals[-1][1])
    (first_sound_s, n_before), *later = [arrival for arrival in arrivals if arrival[1] >= n_start]
    n_underruns, empty_at_s = 0, first_sound_s + n_before / BYTES_PER_S
    for at_s, n_bytes in later:
        if at_s > empty_at_s:
            n_underruns, empty_at_s = n_underruns + 1, at_s
        empty_at_s += (n_bytes - n_before) / BYTES_PER_S
        n_before = n_bytes
    return Playback(first_sound_s, arrivals[-1][0], n_underruns)


def load_rows(listener_counts: list[int], n_rounds: int) -> Iterator[Row]:
    """First sound, underruns and memory with so many listeners at once, who all press Generate in the same moment."""
    command = ("uvicorn", "kpop.bench:load_app", "--factory", "--log-level=warning", "--port={port}")
    with serving(command, "/songs/state") as (port, process, _):
        listener, numbers = partial(listen, port), count()
        listener(next(numbers))  # loads the model
        for n in listener_counts:
            with ThreadPoolExecutor(n) as threads:
                heard = [each for _ in range(n_rounds) for each in threads.map(listener, islice(numbers, n))]
            median_s, p95_s = np.percentile([each.first_sound_s for each in heard], [50, 95])
            crowd, is_target = f"{n} listener{'s' * (n > 1)}", n == TARGET_LISTENERS
            yield Row(f"{crowd}: first sound, median", float(median_s), "s")
            yield Row("- 95th percentile", float(p95_s), "s", 3.0 if is_target else None)
            yield Row("- underruns", sum(each.n_underruns for each in heard), "", 0 if is_target else None)
            yield Row("- last song complete", max(each.finished_s for each in heard), "s")
            yield Row("- memory of the server without the page", memory_mb(process.pid), "MB")


def listen(port: int, number: int) -> Playback:
    """What a listener gets who submits a song of this seed number.

    Raises KpopError when the server refuses, closes too early, is silent for TIMEOUT_S, or takes longer than
    SONG_TIMEOUT_S.
    """
    clips, server, arrivals, n_bytes = built_in_clips(), f"http://127.0.0.1:{port}", [], 0
    submission = f"{server}/songs?clip={clips[number % len(clips)].name}&seed_number={number}"
    started_s = time.perf_counter()
    try:
        with urlopen(submission, data=b"", timeout=TIMEOUT_S) as answer:
            url = answer.read().decode()
        with urlopen(server + url, timeout=TIMEOUT_S) as song:
            while part := song.read1(1 << 16):
                n_bytes += len(part)
                arrivals.append((time.perf_counter() - started_s, n_bytes))
                if arrivals[-1][0] > SONG_TIMEOUT_S:
                    raise TimeoutError(f"not complete after {SONG_TIMEOUT_S:g} s")
            if n_bytes < int(song.headers["Content-Length"]):
                raise ConnectionError("closed before its end")
    except (OSError, HTTPException) as error:
        raise KpopError(f"A listener got no whole song ({error}): measure with fewer --listeners.") from error
    return playback(arrivals)


@contextmanager
def serving(
    module: tuple[str, ...], health: str, port: int = 0, **environment: str
) -> Iterator[tuple[int, subprocess.Popen, float]]:
    """`python -m module...` with {port} replaced by the port, or a free one if 0, until the end of the context.

    Yields port, process and time.perf_counter() of its start, once GET health answers.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = port or probe.getsockname()[1]
    command = [sys.executable, "-m", *(part.format(port=port) for part in module)]
    started_s = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | {"TWICE4LIFE_FEEDBACK": "off"} | environment
    )
    try:
        while True:
            with suppress(OSError):
                urlopen(f"http://127.0.0.1:{port}{health}", timeout=1).close()
                break
            if process.poll() is not None or time.perf_counter() > started_s + TIMEOUT_S:
                raise KpopError(f"`{' '.join(command[1:])}` did not start: run it and see why.")
            time.sleep(POLL_S)
        yield port, process, started_s
    finally:
        process.terminate()
        process.wait()


def memory_mb(pid: int) -> float:
    """Resident memory of a process in MB (Linux); NaN elsewhere."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024
    return math.nan


def page_rows(n_clicks: int) -> Iterator[Row]:
    """The real page in headless Chromium: start, click to first sound, memory with this one listener."""
    with chromium() as browser:
        with page(browser) as (tab, process, usable_s):
            yield Row("page: usable after the start of the process", usable_s, "s", 4.0)
            yield Row("- first click, as soon as it is usable, to sound", first_sound_s(tab), "s")
            times_s = [first_sound_s(tab) for _ in range(n_clicks)]
            yield Row("- later clicks to sound, median", float(np.median(times_s)), "s", 0.6)
            yield Row("- later clicks to sound, longest", max(times_s), "s")
            yield Row("- memory of its server with one listener", memory_mb(process.pid), "MB", 700)
        with tempfile.TemporaryDirectory() as cache, page(browser, NUMBA_CACHE_DIR=cache) as (tab, _, _):
            yield Row("page: click to sound, nothing compiled yet", first_sound_s(tab), "s", 10.0)


@contextmanager
def page(browser, **environment: str) -> Iterator[tuple]:
    """A tab on a fresh `streamlit run app.py`, its process, and seconds from its start to a usable page."""
    command = ("streamlit", "run", "app.py", "--server.port={port}", "--server.headless=true", "--logger.level=error")
    with serving(command, "/_stcore/health", **environment) as (port, process, started_s):
        tab = browser.new_page()
        tab.set_default_timeout(1000 * TIMEOUT_S)
        tab.goto(f"http://localhost:{port}/?length_s={SONG_S:g}")
        tab.get_by_role("button", name="Generate").click(trial=True)
        yield tab, process, time.perf_counter() - started_s
        tab.close()


def first_sound_s(tab) -> float:
    """Seconds from a click on Generate to the first sound; then waits until the song is complete."""
    tab.evaluate(FIRST_SOUND)
    tab.get_by_role("button", name="Generate").click()
    elapsed_s = tab.wait_for_function("window.firstSoundS").json_value()
    tab.wait_for_timeout(PAUSE_MS)
    return elapsed_s


@contextmanager
def chromium() -> Iterator:
    """A headless Chromium."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program or not find_spec("playwright"):
        raise KpopError("--browser needs Chromium and playwright: install both, or leave it out.")
    with import_module("playwright.sync_api").sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
