"""From a score to sound: tracks are played, levelled, ducked under the kick, sent to a reverb and mastered."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import signal
from scipy.ndimage import uniform_filter1d

from kpop.audio.loudness import normalise
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ, SIXTEENTH_SAMPLES
from kpop.corpus.instruments import band, decay, drum_hit, impact, n_samples, noise, ramped, riser, times, tone
from kpop.corpus.score import DRUM_TRACKS, VOICE_TRACKS, Note, Score, Section
from kpop.corpus.voice import vocal_track


class Channel(NamedTuple):
    """Settings of one track: level, reverb send 0..1, and how far it is ducked by the kick, 0..1."""

    level_db: float
    send: float = 0.0
    duck: float = 0.0


CHANNELS = {
    "kick": Channel(-10.0),
    "snare": Channel(-13.5, 0.12),
    "clap": Channel(-17.0, 0.12),
    "hat": Channel(-22.0),
    "open_hat": Channel(-24.0),
    "crash": Channel(-23.0),
    "bass": Channel(-20.0, 0.0, 0.75),
    "pad": Channel(-29.5, 0.25, 0.8),
    "pluck": Channel(-23.5, 0.4, 0.35),
    "stab": Channel(-25.0, 0.35, 0.35),
    "lead": Channel(-14.0, 0.3),
    "harmony": Channel(-19.0, 0.5, 0.2),
    "harmony2": Channel(-21.0, 0.5, 0.2),
    "adlib": Channel(-18.5, 0.6),
    "chop": Channel(-17.5, 0.5),
    "shout": Channel(-16.0, 0.5),
    "riser": Channel(-25.0, 0.0, 0.4),
    "impact": Channel(-16.0, 0.3),
}
DUCK_S = 0.24  # shorter than a beat, so that the ducking ends before the next kick
REVERB_S = 0.40
SLAP_S = 0.09
SATURATION = 0.7
AIR_DB = 1.5
# Bass and middle of each palette, set so that its octave bands lie near those of produced recordings.
BASS_DB = {"neon": 2.5, "velvet": 2.0, "bubblegum": 4.5, "noir": 2.0}
MIDDLE_DB = {"neon": -3.0, "velvet": -3.0, "bubblegum": -4.0, "noir": -2.5}
BASS_HZ = 80.0
MIDDLE_HZ = (150.0, 4_500.0)
SECTION_DB = {"verse": -2.2, "prechorus": -1.0, "bridge": -1.0, "dance": -0.3}  # below choruses
FADE_S = 0.03


def render(score: Score) -> np.ndarray:
    """The song, (n_bars * BAR_SAMPLES,) float32 at 16 kHz, -14 LUFS; same score, same samples."""
    return normalise(_master(_mixed(score, score.n_bars * BAR_SAMPLES)))


def _mixed(score: Score, n: int) -> np.ndarray:
    """All tracks with their reverb, the palette's tone control and the sections' levels, (n,) float64."""
    duck = duck_gain([_samples(note.start_16th) for note in score.tracks.get("kick", ())], n)
    dry, send = np.zeros(n), np.zeros(n)
    for track, channel in CHANNELS.items():
        if notes := score.tracks.get(track):
            gain = 1 - channel.duck + channel.duck * duck if channel.duck else 1.0
            levelled = _gain(channel.level_db) * stem(track, score.palette, notes, n) * gain
            dry += levelled
            send += channel.send * levelled
    dry += signal.oaconvolve(send, reverb_response())[:n]
    bass, middle = _first_order(dry, BASS_HZ, "lowpass"), band(dry, *MIDDLE_HZ, order=1)
    toned = dry + (_gain(BASS_DB[score.palette]) - 1) * bass + (_gain(MIDDLE_DB[score.palette]) - 1) * middle
    return section_gain(score.sections, n) * toned


def stem(track: str, palette: str, notes: tuple[Note, ...], n: int) -> np.ndarray:
    """One track alone, before its channel, (n,) float32; what lies outside 0..n is cut."""
    if track in VOICE_TRACKS:
        events = vocal_track(track, palette, notes)
    else:
        events = ((_samples(note.start_16th), _play(track, palette, note)) for note in notes)
    total = np.zeros(n, np.float32)
    for start, waveform in events:
        first, stop = max(0, start), min(n, start + len(waveform))
        total[first:stop] += waveform[first - start : stop - start]
    return total


def _play(track: str, palette: str, note: Note) -> np.ndarray:
    if track in DRUM_TRACKS:
        return note.velocity * drum_hit(palette, track)
    if track == "riser":
        return note.velocity * riser(_samples(note.length_16ths))
    if track == "impact":
        return note.velocity * impact()
    return tone(track, palette, note.midi, _samples(note.length_16ths), note.velocity)


def _samples(sixteenths: float) -> int:
    return round(sixteenths * SIXTEENTH_SAMPLES)


def _gain(level_db: float) -> float:
    return 10 ** (level_db / 20)


def duck_gain(kick_starts: Iterable[int], n: int) -> np.ndarray:
    """Side-chain gain (n,) float32: 1, falling to 0 at each kick's first sample and recovering within DUCK_S."""
    recovery = 0.5 - 0.5 * np.cos(np.pi * np.linspace(0, 1, n_samples(DUCK_S)))
    fall = n_samples(0.004)
    shape = np.concatenate((np.linspace(1, 0, fall, endpoint=False), recovery))
    gain = np.ones(fall + n + len(shape), np.float32)
    for start in kick_starts:
        part = gain[start : start + len(shape)]
        np.minimum(part, shape, out=part)
    return gain[fall : fall + n]


@lru_cache(maxsize=1)
def reverb_response() -> np.ndarray:
    """Impulse response of a short room with a slap echo, (n,) float64."""
    n = n_samples(REVERB_S)
    late = band(noise(n, 21), 250.0, 3_200.0) * decay(n, REVERB_S) * np.minimum(1.0, times(n) / 0.012)
    response = ramped(late / np.sqrt(np.sum(late**2)), 0.002, 0.02) * 0.7
    response[n_samples(SLAP_S)] += 0.5
    return response


def _first_order(waveform: np.ndarray, corner_hz: float, kind: str) -> np.ndarray:
    return signal.sosfilt(signal.butter(1, corner_hz, kind, fs=SAMPLE_RATE_HZ, output="sos"), waveform)


def section_gain(sections: Iterable[Section], n: int) -> np.ndarray:
    """Gain of the mix by kind of section, with short fades between them, (n,) float64."""
    gain = np.ones(n)
    for section in sections:
        first = section.first_bar * BAR_SAMPLES
        gain[first : first + section.n_bars * BAR_SAMPLES] = _gain(SECTION_DB.get(section.kind, 0.0))
    return uniform_filter1d(gain, n_samples(FADE_S), mode="nearest")


def _master(waveform: np.ndarray) -> np.ndarray:
    """High-pass, gentle saturation, high shelf; (n,) float32."""
    cleaned = signal.sosfilt(signal.butter(2, 42.0, "highpass", fs=SAMPLE_RATE_HZ, output="sos"), waveform)
    warm = np.tanh(SATURATION * cleaned) / SATURATION
    bright = warm + (_gain(AIR_DB) - 1) * _first_order(warm, 5_500.0, "highpass")
    return bright.astype(np.float32)
