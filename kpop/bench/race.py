"""A whole song of ours against what librosa needs for the inversion of one alone, in turns."""

import time
from collections.abc import Callable

import numpy as np

from kpop.bench import inversion
from kpop.bench.readings import Aim, Reading, several
from kpop.codec.network import Codec
from kpop.engine.engine import Engine
from kpop.generation.clips import built_in_clip, built_in_clips
from kpop.generation.settings import Settings

NO_MORE = Aim(1.0)
STRETCH = 0.25


def measure(codec: Codec, model: str, length_s: float, n_rounds: int, say: Callable[[str], None]) -> list[Reading]:
    """Seconds of both, and ours as a share of librosa's."""
    say(f"songs of {length_s:g} s against librosa's inversion alone")
    waveform = inversion.music(length_s)
    magnitude = inversion.decoded_magnitude(waveform, codec)
    clips = [built_in_clip(clip.name) for clip in built_in_clips()]
    engine, ours_s, librosa_s = Engine(), [], []
    for number in range(n_rounds + 1):
        clip = clips[number % len(clips)]
        settings = Settings(length_s=length_s, seed_number=number, clip=clip.name, model=model)
        ours_s.append(_seconds(lambda: engine.submit(settings, clip).result()))  # noqa: B023
        librosa_s.append(_seconds(lambda: inversion.with_librosa(magnitude, len(waveform))))
    engine.close()
    ours_s, librosa_s = ours_s[1:], librosa_s[1:]  # the first round warmed up
    part = f"a song of {length_s:g} s against librosa's inversion of {length_s:g} s"
    shares = np.array(ours_s) / np.array(librosa_s)
    return [
        several(part, "our song: dreamt, decoded, inverted, mastered", "s", ours_s),
        several(part, "librosa.griffinlim(n_iter=32) alone", "s", librosa_s),
        several(part, "share of librosa's time", "", shares, NO_MORE, f"{STRETCH:g} would be splendid"),
    ]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
