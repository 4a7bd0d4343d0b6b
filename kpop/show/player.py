"""The stage and its live player in the browser: what they are built from, and what they are told."""

from pathlib import Path
from typing import TYPE_CHECKING

from kpop.generation.settings import Beat
from kpop.generation.titles import song_title
from kpop.grid import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from kpop.engine.job import Job
    from kpop.show.visit import Visit

N_BANDS = 128
_HERE = Path(__file__).parent
_SCRIPTS = ("live_sound.js", "picture.js", "handover.js", "stage.js", "player.js")


def _text(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


HTML, CSS, JS = _text("player.html"), _text("player.css"), _text(*_SCRIPTS)


def live_data(job: "Job", base_path: str) -> dict:
    """What the player is told of a job: see `told` in player.js. base_path: where the page lives, "" for the root."""
    from kpop.audio.spectrum import mel_centres_hz  # brings scipy: the page must not wait for it

    edges_hz = [0.0, *(round(float(hz), 1) for hz in mel_centres_hz(N_BANDS)), SAMPLE_RATE_HZ / 2]
    return {"url": f"{base_path}/live/{job.id}", "n_samples": job.n_samples, "shown": False, "edges_hz": edges_hz}


def stage_data(visit: "Visit") -> dict:
    """What the stage is told: the songs on it, and the one that is being made."""
    return {"songs": _songs(visit), "live": visit.live}


def _songs(visit: "Visit") -> list[dict]:
    """One for every picture on the page, the song in the making first."""
    if job := visit.job:
        length_s = None if job.endless else job.settings.length_s
        return [_song(song_title(job.settings), length_s, visit.outline.seed_end_s, visit.outline.beat)]
    return [_song(song.title, song.settings.length_s, song.seed_end_s, song.beat) for song in visit.performances]


def _song(title: str, length_s: float | None, seed_end_s: float, beat: Beat) -> dict:
    return {
        "title": title,
        "length_s": length_s,
        "seed_end_s": seed_end_s,
        "beat": {
            "first_downbeat_s": beat.first_downbeat_s,
            "beat_s": beat.beat_s,
            "beats_per_bar": beat.beats_per_bar,
        },
    }
