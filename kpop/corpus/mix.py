"""From a score to sound: tracks are played, mixed into buses, compressed, sent to a room and a hall, and mastered.

Everything after the buses is linear or one gain for all of them, so the stems of a song add up to it.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import signal
from scipy.ndimage import uniform_filter1d

from kpop.audio.loudness import normalise
from kpop.constants import SAMPLE_RATE_HZ
from kpop.corpus.instruments import band, decay, drum_hit, impact, n_samples, noise, ramped, riser, times, tone
from kpop.corpus.score import DRUM_TRACKS, VOICE_TRACKS, Note, Score
from kpop.corpus.voice import vocal_track


class Channel(NamedTuple):
    """Settings of one track: its bus, its level there, how far it is ducked by the kick, 0..1, and how late it is."""

    bus: str
    level_db: float
    duck: float = 0.0
    late_s: float = 0.0


class Bus(NamedTuple):
    """Settings of a bus: level of its loud parts in the mix, its compressor, saturation, and sends 0..1."""

    level_db: float
    threshold_db: float = 0.0  # above its loud parts' level
    ratio: float = 1.0
    attack_s: float = 0.01
    drive: float = 0.0
    room: float = 0.0
    hall: float = 0.0
    echo: float = 0.0


CHANNELS = {
    "kick": Channel("drums", 0.0),
    "snare": Channel("drums", -3.0, 0.0, 0.003),
    "clap": Channel("drums", -7.0, 0.0, 0.001),
    "hat": Channel("drums", -14.0, 0.0, 0.002),
    "open_hat": Channel("drums", -15.5),
    "crash": Channel("drums", -14.0),
    "bass": Channel("bass", 0.0, 0.75, 0.002),
    "pad": Channel("chords", -7.0, 0.5),
    "pluck": Channel("chords", 0.0, 0.3),
    "stab": Channel("chords", -3.0, 0.3, 0.002),
    "lead": Channel("lead", 0.0),
    "rap": Channel("lead", 0.0),
    "harmony": Channel("backing", -2.0, 0.2),
    "harmony2": Channel("backing", -4.0, 0.2),
    "adlib": Channel("backing", 0.0),
    "chop": Channel("backing", -1.0),
    "shout": Channel("backing", 0.0),
    "riser": Channel("effects", -6.0, 0.4),
    "impact": Channel("effects", 0.0),
}
BUSES = {
    "lead": Bus(-19.5, -6.0, 3.0, 0.005, 0.5, 0.06, 0.12, 0.15),
    "backing": Bus(-26.0, -6.0, 3.0, 0.005, 0.0, 0.1, 0.3, 0.1),
    "drums": Bus(-17.0, -2.0, 2.5, 0.02, 1.0, 0.45),
    "bass": Bus(-18.0, -4.0, 3.0, 0.02, 0.6),
    "chords": Bus(-20.5, -4.0, 2.0, 0.02, 0.3, 0.1, 0.2),
    "effects": Bus(-26.0, 0.0, 1.0, 0.01, 0.0, 0.1, 0.2),
}
DUCK_S = 0.24  # shorter than a beat, so that the ducking ends before the next kick
ECHO_16THS, ECHO_GAINS = 3, (1.0, 0.45, 0.2)  # dotted eighths
RELEASE_S = 0.12  # of compressors
BLOCK = 64  # samples per value of a compressor's level
JITTER_S = 0.0025  # of human timing, either way at most
JITTER_DB = 1.2  # of velocity, standard deviation
SECTION_DB = {"intro": -1.5, "verse": -2.8, "prechorus": -1.2, "bridge": -3.6, "dance": -0.3}  # below choruses
FADE_S = 0.03
GLUE = Bus(0.0, -3.0, 1.5, 0.03)  # compressor of the mix
SATURATION = 0.6
MUD_DB, MUD_HZ = -2.5, (170.0, 1_400.0)


def render(score: Score) -> np.ndarray:
    """The song, (n_bars * bar_samples,) float32 at 16 kHz, -14 LUFS; same score, same samples."""
    return _mastered(score)[0]


def render_stems(score: Score) -> dict[str, np.ndarray]:
    """The song by buses, keys of BUSES, each (n_bars * bar_samples,) float32; their sum is render(score)."""
    song, mix, buses = _mastered(score)
    gain = np.divide(song, mix, out=np.zeros(len(mix)), where=np.abs(mix) > 1e-9)
    return {name: (gain * bus).astype(np.float32) for name, bus in buses.items()}


def _mastered(score: Score) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The song, its mix before the master's gains, and the buses that the mix is the sum of."""
    n = score.n_bars * score.bar_samples
    level = section_gain(score, n)
    buses = {name: level * _toned(bus) for name, bus in _buses(score, n).items()}
    mix = sum(buses.values())
    glued = mix / max(_loud_rms(mix), 1e-9)
    glued *= _compressor_gain(glued, GLUE)
    warm = np.tanh(0.5 * SATURATION * glued)
    return normalise(warm.astype(np.float32)), mix, buses


def _buses(score: Score, n: int) -> dict[str, np.ndarray]:
    return {name: _bus(score, name, n) for name in BUSES}


def _bus(score: Score, name: str, n: int) -> np.ndarray:
    """A bus with its reverb, (n,) float64."""
    settings, total = BUSES[name], np.zeros(n)
    for track, channel in CHANNELS.items():
        if channel.bus == name and (notes := score.tracks.get(track)):
            played = _gain(channel.level_db) * stem(track, score, notes, n)
            total += played * (1 - channel.duck + channel.duck * _duck(score, n)) if channel.duck else played
    loud = _loud_rms(total)
    if not loud:
        return total
    total /= loud
    total *= _compressor_gain(total, settings)
    if settings.drive:
        total = np.tanh(settings.drive * total / 3) * 3 / settings.drive
    total *= _gain(settings.level_db) / _loud_rms(total)
    wet = np.zeros(n)
    if settings.room:
        wet += settings.room * signal.oaconvolve(total, room_response())[:n]
    if settings.hall:
        wet += settings.hall * signal.oaconvolve(total, hall_response())[:n]
    for i, gain in enumerate(ECHO_GAINS if settings.echo else ()):
        delay = (i + 1) * ECHO_16THS * score.sixteenth_samples
        wet[delay:] += settings.echo * gain * _first_order(total[: n - delay], 2_500.0, "lowpass")
    return total + wet


def _loud_rms(waveform: np.ndarray) -> float:
    """RMS of the louder parts of a waveform; 0 for silence."""
    power = np.add.reduceat(waveform**2, np.arange(0, len(waveform), 1600)) / 1600
    power = power[power > 0.02 * power.max()]
    return float(np.sqrt(power.mean())) if power.size else 0.0


@njit(cache=True)
def _follow(level_db, attack, release):
    """Level with separate smoothing of rises and falls."""
    out = np.empty(len(level_db))
    state = level_db[0]
    for i in range(len(level_db)):
        share = attack if level_db[i] > state else release
        state += share * (level_db[i] - state)
        out[i] = state
    return out


def _compressor_gain(waveform: np.ndarray, settings: Bus) -> np.ndarray | float:
    """Gain (n,) of a feed-forward compressor (Giannoulis et al. 2012) of a waveform whose loud parts are at 0 dB."""
    if settings.ratio == 1:
        return 1.0
    edges = np.arange(0, len(waveform), BLOCK)
    over_db = 10 * np.log10(np.add.reduceat(waveform**2, edges) / BLOCK + 1e-9) - settings.threshold_db
    block_s = BLOCK / SAMPLE_RATE_HZ
    smoothing = (1 - np.exp(-block_s / time_s) for time_s in (settings.attack_s, RELEASE_S))
    reduction_db = _follow(np.maximum(over_db, 0.0) * (1 - 1 / settings.ratio), *smoothing)
    return _gain(-np.interp(np.arange(len(waveform)), edges + BLOCK / 2, reduction_db))


def stem(track: str, score: Score, notes: tuple[Note, ...], n: int) -> np.ndarray:
    """One track alone, before its channel, (n,) float32; what lies outside 0..n is cut."""
    if track in VOICE_TRACKS:
        events = vocal_track(track, score.palette, notes, score.sixteenth_samples)
    else:
        events = _played(track, score, notes)
    total = np.zeros(n, np.float32)
    for start, waveform in events:
        first, stop = max(0, start), min(n, start + len(waveform))
        if stop > first:
            total[first:stop] += waveform[first - start : stop - start]
    return total


def _played(track: str, score: Score, notes: tuple[Note, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """(first sample, waveform) of each note, timed and struck as by a person: the same number, the same deviations."""
    rng = np.random.default_rng((score.number, list(CHANNELS).index(track)))
    for note in notes:
        human = np.clip(rng.standard_normal() / 2, -1, 1) * JITTER_S + CHANNELS[track].late_s
        gain = _gain(JITTER_DB * np.clip(rng.standard_normal(), -2, 2))
        start = round(note.start_16th * score.sixteenth_samples + human * SAMPLE_RATE_HZ)
        yield start, gain * _play(track, score.palette, note, round(note.length_16ths * score.sixteenth_samples))


def _play(track: str, palette: str, note: Note, length: int) -> np.ndarray:
    if track in DRUM_TRACKS:
        return note.velocity**1.5 * drum_hit(palette, track)
    if track == "riser":
        return note.velocity * riser(length)
    if track == "impact":
        return note.velocity * impact()
    return tone(track, palette, note.midi, length, note.velocity)


def _gain(level_db: float | np.ndarray) -> float | np.ndarray:
    return 10 ** (level_db / 20)


def _duck(score: Score, n: int) -> np.ndarray:
    return duck_gain([round(note.start_16th * score.sixteenth_samples) for note in score.tracks.get("kick", ())], n)


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
def room_response() -> np.ndarray:
    """Impulse response of a drum room: dense early reflections and a short broad tail, (n,) float64."""
    n = n_samples(0.35)
    tail = band(noise(n, 21), 180.0, 6_500.0, 1) * decay(n, 0.35)
    return ramped(tail / np.sqrt(np.sum(tail**2)), 0.004, 0.02)


@lru_cache(maxsize=1)
def hall_response() -> np.ndarray:
    """Impulse response of a hall: 20 ms of silence, then a tail whose treble decays faster, (n,) float64."""
    n = n_samples(1.6)
    low = band(noise(n, 22), 250.0, 1_500.0, 1) * decay(n, 1.6)
    high = band(noise(n, 23), 1_500.0, 5_500.0) * decay(n, 0.9)
    tail = (low + 0.8 * high) * np.minimum(1.0, times(n) / 0.03)
    return np.pad(ramped(tail / np.sqrt(np.sum(tail**2)), 0.004, 0.05), (n_samples(0.02), 0))


def _first_order(waveform: np.ndarray, corner_hz: float, kind: str) -> np.ndarray:
    return signal.sosfilt(signal.butter(1, corner_hz, kind, fs=SAMPLE_RATE_HZ, output="sos"), waveform)


def section_gain(score: Score, n: int) -> np.ndarray:
    """Gain of the mix by kind of section, with short fades between them, (n,) float64."""
    gain = np.ones(n)
    for section in score.sections:
        first = section.first_bar * score.bar_samples
        gain[first : first + section.n_bars * score.bar_samples] = _gain(SECTION_DB.get(section.kind, 0.0))
    return uniform_filter1d(gain, n_samples(FADE_S), mode="nearest")


def _toned(waveform: np.ndarray) -> np.ndarray:
    """The master's high-pass and cut of the lower middle, (n,) float64."""
    cleaned = signal.sosfilt(signal.butter(2, 28.0, "highpass", fs=SAMPLE_RATE_HZ, output="sos"), waveform)
    return cleaned + (_gain(MUD_DB) - 1) * band(cleaned, *MUD_HZ, order=1)
