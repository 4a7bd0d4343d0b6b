"""The desk: levels, side-chain, reverb, saturation, master."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from scipy import signal
from scipy.ndimage import uniform_filter1d

from kpop.audio.loudness import normalise
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ
from kpop.corpus.score import Score, Section
from kpop.corpus.waves import band, decay, n_samples, noise, ramped, times

LEVELS_DB = {
    "kick": -10.0,
    "snare": -13.5,
    "clap": -17.0,
    "hat": -22.0,
    "open_hat": -24.0,
    "crash": -23.0,
    "bass": -20.0,
    "pad": -29.5,
    "pluck": -23.5,
    "stab": -25.0,
    "lead": -14.0,
    "harmony": -19.0,
    "harmony2": -21.0,
    "adlib": -18.5,
    "chop": -17.5,
    "shout": -16.0,
    "riser": -25.0,
    "impact": -16.0,
}
SENDS = {"snare": 0.12, "clap": 0.12, "pad": 0.25, "pluck": 0.4, "stab": 0.35, "lead": 0.3, "harmony": 0.5, "chop": 0.5}
SENDS |= {"harmony2": 0.5, "adlib": 0.6, "shout": 0.5, "impact": 0.3}
DUCKS = {"pad": 0.8, "bass": 0.75, "pluck": 0.35, "stab": 0.35, "harmony": 0.2, "harmony2": 0.2, "riser": 0.4}
DUCK_S = 0.24  # shorter than a beat, so that the ducking ends before the next kick
REVERB_S = 0.40
SLAP_S = 0.09
SATURATION = 0.7
AIR_DB = 1.5
# Bottom and middle of each group, set so that its octave bands lie near those of produced recordings.
BOTTOM_DB = {"neon": 2.5, "velvet": 2.0, "bubblegum": 4.5, "noir": 2.0}
MIDDLE_DB = {"neon": -3.0, "velvet": -3.0, "bubblegum": -4.0, "noir": -2.5}
BOTTOM_HZ = 80.0
MIDDLE_HZ = (150.0, 4_500.0)
FADER_DB = {"verse": -2.2, "prechorus": -1.0, "bridge": -1.0, "dance": -0.3}  # leaves the choruses room to lift
FADE_S = 0.03


@lru_cache(maxsize=1)
def reverb_response() -> np.ndarray:
    """A fixed short room with a slap in front, (n,) float64."""
    n = n_samples(REVERB_S)
    late = band(noise(n, 21), 250.0, 3_200.0) * decay(n, REVERB_S) * np.minimum(1.0, times(n) / 0.012)
    response = ramped(late / np.sqrt(np.sum(late**2)), 0.002, 0.02) * 0.7
    response[n_samples(SLAP_S)] += 0.5
    return response


def duck_gain(kick_starts: Iterable[int], n: int) -> np.ndarray:
    """1 where nothing is ducked, falling to 0 at each kick and recovering within DUCK_S; (n,) float32."""
    recovery = 0.5 - 0.5 * np.cos(np.pi * np.linspace(0, 1, n_samples(DUCK_S)))
    fall = n_samples(0.004)
    shape = np.concatenate((np.linspace(1, 0, fall, endpoint=False), recovery))
    gain = np.ones(n, np.float32)
    for start in kick_starts:
        first = max(0, start - fall)
        part = gain[first : start - fall + len(shape)]
        np.minimum(part, shape[len(shape) - len(part) :] if start < fall else shape[: len(part)], out=part)
    return gain


def _high_shelf(waveform: np.ndarray, gain_db: float, corner_hz: float) -> np.ndarray:
    """The waveform with gain_db more above corner_hz (first order)."""
    high = signal.sosfilt(signal.butter(1, corner_hz, "highpass", fs=SAMPLE_RATE_HZ, output="sos"), waveform)
    return waveform + (10 ** (gain_db / 20) - 1) * high


def _tone(waveform: np.ndarray, palette: str) -> np.ndarray:
    """The waveform with the bottom and the middle of its group, in gentle slopes (first order)."""
    low = signal.sosfilt(signal.butter(1, BOTTOM_HZ, "lowpass", fs=SAMPLE_RATE_HZ, output="sos"), waveform)
    middle = band(waveform, *MIDDLE_HZ, order=1)
    return waveform + (10 ** (BOTTOM_DB[palette] / 20) - 1) * low + (10 ** (MIDDLE_DB[palette] / 20) - 1) * middle


def fader(sections: Iterable[Section], n: int) -> np.ndarray:
    """Gain of the whole mix by kind of section, constant within each, (n,) float64."""
    gain = np.ones(n)
    for section in sections:
        first = section.first_bar * BAR_SAMPLES
        gain[first : first + section.n_bars * BAR_SAMPLES] = 10 ** (FADER_DB.get(section.kind, 0.0) / 20)
    return uniform_filter1d(gain, n_samples(FADE_S), mode="nearest")


def _master(waveform: np.ndarray) -> np.ndarray:
    """No rumble, gentle saturation, air, -14 LUFS."""
    cleaned = signal.sosfilt(signal.butter(2, 42.0, "highpass", fs=SAMPLE_RATE_HZ, output="sos"), waveform)
    warm = np.tanh(SATURATION * cleaned) / SATURATION
    bright = _high_shelf(warm, AIR_DB, 5_500.0)
    return normalise(bright.astype(np.float32))


def mix(stems: Iterable[tuple[str, np.ndarray]], kick_starts: Iterable[int], score: Score) -> np.ndarray:
    """The finished song of a score from (track, waveform of n samples) pairs, (n,) float32, -14 LUFS."""
    n = score.n_bars * BAR_SAMPLES
    duck = duck_gain(kick_starts, n)
    dry, send = np.zeros(n), np.zeros(n)
    for track, waveform in stems:
        depth = DUCKS.get(track, 0.0)
        levelled = 10 ** (LEVELS_DB[track] / 20) * waveform * (1 - depth + depth * duck if depth else 1.0)
        dry += levelled
        if track in SENDS:
            send += SENDS[track] * levelled
    wet = signal.oaconvolve(send, reverb_response())[:n]
    return _master(fader(score.sections, n) * _tone(dry + wet, score.palette))
