"""From songs in the making to all that the page shows of them, in one piece of background work."""

import io
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kpop.audio.io import read_audio
from kpop.constants import BEATS_PER_BAR, FRAMES_PER_STEP, SAMPLE_RATE_HZ, STEPS_PER_BAR, STEPS_PER_BEAT
from kpop.generation.clips import SeedClip
from kpop.generation.metadata import song_wav
from kpop.generation.seed import clip_hop, seed_length, song_hop
from kpop.generation.titles import song_file_name, song_title
from kpop.model_info import index_path
from kpop.settings import Beat, GeneratedSong, Settings
from kpop.similarity.match import SimilarityResult, closest_moment
from kpop.ui.how import SongFigures, figures_of
from kpop.ui.tasks import BackgroundTask, Report, quiet_line

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kpop.engine import Engine, Job


TICK_S = 0.25
CALM_PATIENCE_S = 20.0  # songs that never end are no reason to wait for ever


@dataclass(frozen=True)
class RenderedSong:
    """A song ready to be shown: what it is called and made from, picture, WAV file, the file's name, a line of facts.

    own_clip: the listener's own that it started from, None for a built-in one
    beat: where its beats and bars lie; song_figures: how it was made
    """

    settings: Settings
    own_clip: SeedClip | None
    title: str
    figure: "go.Figure"
    wav: bytes
    file_name: str
    facts: str
    seed_end_s: float
    beat: Beat
    song_figures: SongFigures


def perform(jobs: "tuple[Job, ...]", own_clip: SeedClip | None, report: Report) -> tuple[RenderedSong, ...]:
    """Waits for the songs, and reports how far they are together; one alone tells that itself. Raises KpopError."""
    for job in jobs:
        while len(jobs) > 1 and not job.wait(TICK_S):
            report(sum(each.fraction for each in jobs) / len(jobs), job.words)
    songs = [job.result() for job in jobs]
    report(1.0, "Painting the picture")
    return tuple(present(song, own_clip) for song in songs)


def present(song: GeneratedSong, own_clip: SeedClip | None) -> RenderedSong:
    from kpop.ui.spectrogram import spectrogram_figure  # plotly takes a while: the page must not wait for it

    return RenderedSong(
        settings=song.settings,
        own_clip=own_clip,
        title=song_title(song.settings),
        figure=spectrogram_figure(song),
        wav=song_wav(song.waveform, song.settings),
        file_name=song_file_name(song.settings),
        facts=song_facts(song),
        seed_end_s=song.seed_end_s,
        beat=song.beat,
        song_figures=figures_of(song),
    )


def song_facts(song: GeneratedSong) -> str:
    """One line for the curious."""
    length_s = len(song.waveform) / SAMPLE_RATE_HZ
    taken_s = sum(song.seconds_taken.values())
    return (
        f"{length_s:.0f} s of music in {taken_s:.1f} s · seed {song.seed_end_s:.1f} s"
        f" · seed number {song.settings.seed_number}"
    )


@dataclass(frozen=True)
class SongPreview:
    """What is known of a song before it is made: where its seed will end, and where its beats will lie."""

    seed_end_s: float
    beat: Beat


def outline(job: "Job", metronome_rate: float) -> SongPreview:
    """metronome_rate: the voice's, in slots a step."""
    settings, clip = job.settings, job.clip
    step_samples = song_hop(clip, settings.randomness, metronome_rate) * FRAMES_PER_STEP
    n_steps = None if job.endless else -(-job.n_samples // step_samples)
    n_clip_steps = int(len(clip.waveform) / (clip_hop(clip, metronome_rate) * FRAMES_PER_STEP))
    step_s = step_samples / SAMPLE_RATE_HZ
    slot_s = step_s / metronome_rate
    first_slot = clip.first_slot if settings.randomness < 1 else 0
    beat = Beat(-first_slot % STEPS_PER_BAR * slot_s, STEPS_PER_BEAT * slot_s, BEATS_PER_BAR)
    return SongPreview(seed_length(n_steps, n_clip_steps, settings.randomness) * step_s, beat)


def start_comparing(engine: "Engine", performance: RenderedSong) -> "BackgroundTask[SimilarityResult | None] | None":
    """How close the song comes to its voice's training music; found when there is time, so that no song need wait.

    None without an index beside the model.
    """
    model = performance.settings.model
    if not index_path(model).exists():
        return None
    data = engine.voices.get(model).result().info.get("data", "")
    return BackgroundTask(partial(_compare, engine, performance, data), quiet_line())


def _compare(engine: "Engine", performance: RenderedSong, data: str, report: Report) -> SimilarityResult | None:
    calm_by_s = time.monotonic() + CALM_PATIENCE_S
    while engine.state()["running"] and time.monotonic() < calm_by_s:
        report(0.0, "Waiting for others' songs")  # a low priority does not keep this from slowing Python down for them
        time.sleep(TICK_S)
    nothing = np.zeros(0, np.float32)
    song = GeneratedSong(
        waveform=read_audio(io.BytesIO(performance.wav)),
        log_mel_db=nothing,
        mel_centres_hz=nothing,
        seed_end_s=performance.seed_end_s,
        settings=performance.settings,
        beat=performance.beat,
    )
    return closest_moment(song, data, report)


N_BANDS = 128


def live_data(job: "Job", base_path: str) -> dict:
    """What the player is told of a job: see `told` in player.js. base_path: where the page lives, "" for the root."""
    from kpop.audio.stft import mel_centres_hz  # brings scipy: the page must not wait for it

    edges_hz = [0.0, *(round(float(hz), 1) for hz in mel_centres_hz(N_BANDS)), SAMPLE_RATE_HZ / 2]
    return {"url": f"{base_path}/live/{job.id}", "n_samples": job.n_samples, "shown": False, "edges_hz": edges_hz}
