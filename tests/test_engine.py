"""The engine: what a listener gets does not depend on the crowd, and the crowd is served fairly. On a tiny model."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import numpy as np
import pytest

from kpop.audio.io import BYTES_PER_S
from kpop.constants import SAMPLE_RATE_HZ
from kpop.engine import ENDLESS_KEPT_S, Engine, Job
from kpop.errors import KpopError
from kpop.generation.pipeline import Pipeline
from kpop.generation.session import GenerationSession, generate
from kpop.runtime import PipelineCache, PipelineLoader
from kpop.settings import Settings

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def pipelines() -> PipelineCache:
    return PipelineCache()


@pytest.fixture
def open_engine(pipelines) -> Iterator[Callable[..., Engine]]:
    with ExitStack() as engines:
        yield lambda **sizes: engines.enter_context(closing(Engine(pipelines, **sizes)))


@pytest.fixture
def settings(tiny_model) -> Callable[..., Settings]:
    return lambda **changes: Settings(**({"model": str(tiny_model), "length_s": 8.0} | changes))


def wait_for(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> float:
    """Seconds until it holds."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + timeout_s, "waited in vain"
        time.sleep(0.005)
    return time.monotonic() - started


def is_idle(engine: Engine) -> bool:
    state = engine.state()
    return state["free"] == state["slots"] and not state["running"] and not state["queued"]


def pcm_of(job: Job) -> bytes:
    job.result()
    return job.pcm.read(0, job.pcm.n_bytes)


def test_a_song_is_the_same_alone_in_a_crowd_and_without_the_engine(open_engine, tiny_model, settings, clip):
    pipeline = Pipeline.load(tiny_model)
    varied = ({"length_s": 4.01 + 2.5 * n, "randomness": n / 4, "temperature": 0.5 + n / 4} for n in range(5))
    requests = [settings(seed_number=number, **each) for number, each in enumerate(varied)]
    crowd = open_engine()
    jobs = [crowd.submit(each, clip) for each in requests]
    for job, each in zip(jobs, requests, strict=True):
        streamed = pcm_of(job)
        assert streamed == pcm_of(open_engine(n_slots=1).submit(each, clip))
        assert streamed == np.round(job.result().waveform * 32768).astype("<i2").tobytes()
        assert job.result().waveform.tobytes() == generate(pipeline, each, clip).waveform.tobytes()
        assert len(streamed) == 2 * round(each.length_s * SAMPLE_RATE_HZ)
        assert (job.pcm.closed, job.fraction) == (True, 1.0)


def test_new_songs_start_before_long_ones_are_done(open_engine, settings, clip):
    engine = open_engine()
    long = [engine.submit(settings(length_s=120.0, seed_number=number), clip) for number in range(4)]
    wait_for(lambda: all(job.first_sound_at_s for job in long))
    short = engine.submit(settings(), clip)
    wait_for(lambda: short.first_sound_at_s is not None)
    assert not any(job.pcm.closed for job in long)
    short.result()
    assert sum(job.finished for job in long) < 4


def test_the_queue_is_in_order_and_limited_and_cancelling_lets_the_next_in(open_engine, settings, clip):
    engine = open_engine(n_slots=1, max_queue=3)
    jobs = [engine.submit(settings(length_s=300.0, seed_number=number), clip) for number in range(4)]
    wait_for(lambda: jobs[0].first_sound_at_s is not None)
    assert [job.queue_position for job in jobs] == [0, 1, 2, 3]
    assert jobs[1].status == "Number 1 in the queue"
    with pytest.raises(KpopError, match=r"try again in \d+ s"):
        engine.submit(settings(), clip)
    jobs[1].cancel()
    assert [job.queue_position for job in jobs[2:]] == [1, 2]
    jobs[0].cancel()
    assert wait_for(lambda: jobs[2].queue_position == 0) < 0.6
    assert jobs[0].cancelled
    with pytest.raises(KpopError, match="cancelled"):
        jobs[0].result()
    for job in jobs:
        job.cancel()
    wait_for(lambda: is_idle(engine))


def test_an_endless_song_goes_on_as_it_is_played_in_bounded_memory(open_engine, settings, clip):
    engine = open_engine()
    job = engine.submit(settings(), clip, endless=True)
    with job.pcm.subscribed(lambda: None):
        wait_for(lambda: job._is_ahead)
        for _ in range(6):
            n_read = job.pcm.n_bytes
            job.pcm.mark_read(n_read)
            assert len(job.pcm.read(0, job.pcm.n_bytes)) / BYTES_PER_S <= ENDLESS_KEPT_S + 8
            job.first_sound_at_s -= 20.0  # as if twenty seconds had passed
            wait_for(lambda n=n_read: job.pcm.n_bytes > n)
    assert job.pcm.n_dropped > 0
    assert not job.pcm.closed
    job.cancel()
    wait_for(lambda: is_idle(engine))


def test_a_paused_listener_of_an_endless_song_delays_nobody(open_engine, settings, clip):
    engine = open_engine()
    paused = engine.submit(settings(), clip, endless=True)
    with paused.pcm.subscribed(lambda: None):
        wait_for(lambda: paused._is_ahead)
        paused.first_sound_at_s -= 600.0  # ten minutes in which the browser took nothing
        assert len(engine.submit(settings(), clip).result().waveform) == 8 * SAMPLE_RATE_HZ
        n_bytes = paused.pcm.n_bytes
        time.sleep(0.3)
        assert paused.pcm.n_bytes - n_bytes < 3 * BYTES_PER_S


def test_an_endless_song_without_a_listener_gives_its_slot_back(open_engine, settings, clip):
    engine = open_engine(n_slots=2)
    job = engine.submit(settings(), clip, endless=True)
    with pytest.raises(KpopError, match="choose a length"):
        engine.submit(settings(), clip, endless=True)
    job.pcm.last_read_s -= 60.0
    wait_for(lambda: is_idle(engine))
    assert job.error


def test_a_failure_in_one_song_leaves_the_others_alone(open_engine, settings, clip, monkeypatch):
    render_piece = GenerationSession.render_piece

    def fail_for_one(session: GenerationSession) -> bytes:
        if session.settings.seed_number == 13:
            raise RuntimeError("unlucky")
        return render_piece(session)

    monkeypatch.setattr(GenerationSession, "render_piece", fail_for_one)
    engine = open_engine()
    bad, good = (engine.submit(settings(seed_number=number), clip) for number in (13, 14))
    with pytest.raises(KpopError, match="Something broke"):
        bad.result()
    for _ in range(2):
        with pytest.raises(KpopError, match="no weights called nowhere"):
            engine.submit(Settings(model="nowhere"), clip).result()
    assert len(good.result().waveform) == 8 * SAMPLE_RATE_HZ
    good.cancel()  # too late
    assert not good.cancelled
    wait_for(lambda: is_idle(engine))


def test_the_very_first_start_says_that_it_takes_longer(tiny_model, monkeypatch):
    loader = PipelineLoader(tiny_model)
    assert loader.status == "Warming up"
    monkeypatch.setattr("kpop.runtime.USUAL_LOAD_S", 0.0)
    assert "first start" in loader.status
    loader.result()
    assert gc.get_freeze_count(), "what is loaded is not collected again and again"


def test_a_closed_engine_ends_its_songs_and_takes_no_more(open_engine, settings, clip):
    engine = open_engine()
    job = engine.submit(settings(length_s=300.0), clip)
    engine.close()
    with pytest.raises(KpopError, match="cancelled"):
        job.result()
    with pytest.raises(KpopError, match="closed"):
        engine.submit(settings(), clip)
