"""The singing voice: a phrase of notes with syllables in, a waveform out.

Additive formant synthesis: every harmonic gets the amplitude and phase that glottal source and vocal tract have at its
frequency, so nothing lies above TOP_HZ and no filter rings. Controls are frames of CONTROL samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numba import njit

from kpop.constants import SAMPLE_RATE_HZ, SIXTEENTH_SAMPLES, STEP_SAMPLES, exact_div
from kpop.corpus.instruments import TOP_HZ, band, midi_hz, n_samples, noise, ramped
from kpop.corpus.score import Note

CONTROL = 32  # samples between controls (2 ms)
FRAMES_PER_SIXTEENTH = exact_div(SIXTEENTH_SAMPLES, CONTROL)
FRAMES_PER_S = SAMPLE_RATE_HZ / CONTROL
TAIL_FRAMES = 50  # release after a phrase
BANDWIDTHS_HZ = np.array((110.0, 105.0, 140.0, 260.0, 380.0, 450.0, 550.0))
UPPER_FORMANTS_HZ = (6_000.0, 7_100.0)  # five resonances alone would be dull
BODY_HZ = 800.0  # low cut, or the fundamental would mask the vowel
FLATTEN = 0.30  # formants this much shallower, or high notes on dark vowels would sound like a sine
EVENNESS = 0.8  # 0..1, compression of the differences in level between vowels

# Formants F1..F5 of a bright female voice in Hz (after Peterson & Barney 1952 and Hillenbrand et al. 1995).
VOWELS_HZ = {
    "a": (880.0, 1_400.0, 2_850.0, 3_900.0, 4_900.0),
    "e": (600.0, 2_200.0, 2_950.0, 4_000.0, 4_900.0),
    "i": (380.0, 2_700.0, 3_300.0, 4_150.0, 5_000.0),
    "o": (540.0, 980.0, 2_750.0, 3_800.0, 4_850.0),
    "u": (400.0, 900.0, 2_650.0, 3_750.0, 4_800.0),
}


@dataclass(frozen=True)
class Consonant:
    """What precedes the vowel."""

    duration_s: float
    locus_hz: tuple[float, float, float] | None  # F1..F3 at the start; None: those of the vowel
    voicing: float  # level of the harmonics, 1 = as in a vowel
    dullness: float = 0.0  # added to the singer's tilt
    noise: str = ""  # "breath" or "hiss" over the whole, "burst" at the end
    noise_level: float = 0.0


CONSONANTS = {
    "": Consonant(0.0, None, 1.0),
    "n": Consonant(0.070, (280.0, 1_700.0, 2_700.0), 0.40, 0.8),
    "m": Consonant(0.075, (270.0, 1_050.0, 2_300.0), 0.40, 0.9),
    "l": Consonant(0.060, (370.0, 1_250.0, 2_900.0), 0.55, 0.4),
    "y": Consonant(0.075, (310.0, 2_750.0, 3_400.0), 0.75, 0.1),
    "w": Consonant(0.075, (310.0, 680.0, 2_400.0), 0.65, 0.3),
    "d": Consonant(0.045, (260.0, 1_850.0, 2_900.0), 0.06, 0.8, "burst", 0.3),
    "b": Consonant(0.045, (260.0, 850.0, 2_300.0), 0.08, 0.8, "burst", 0.22),
    "h": Consonant(0.070, None, 0.03, 0.5, "breath", 0.26),
    "s": Consonant(0.085, (320.0, 1_800.0, 2_800.0), 0.0, 0.0, "hiss", 0.3),
}
NOISE_BANDS_HZ = {"breath": (1_100.0, 5_200.0), "hiss": (4_600.0, 7_400.0), "burst": (1_500.0, 6_000.0)}


@dataclass(frozen=True)
class Singer:
    """Parameters of a voice."""

    formant_scale: float = 1.0  # above 1: a shorter vocal tract, brighter
    tilt: float = 0.85  # exponent of the harmonics' fall: 0.6 is bright, 1.2 is soft
    breath: float = 0.012  # level of the noise
    vibrato_cents: float = 35.0
    cents: float = 0.0  # detuning
    scoop_cents: float = 70.0  # how far below its first note a phrase begins


LEADS = {
    "neon": Singer(1.0, 0.80),
    "velvet": Singer(0.97, 0.95, 0.02, 30.0, 0.0, 110.0),
    "bubblegum": Singer(1.07, 0.84, 0.012, 25.0),
    "noir": Singer(0.95, 0.86, 0.016, 40.0, 0.0, 90.0),
}
# Other voices against the lead of their group: "scale" multiplies formant_scale, "tilt" is added, the rest replaced.
VARIANTS = {
    "double": {"scale": 0.98, "cents": -7.0},
    "harmony": {"scale": 0.94, "tilt": 0.25, "vibrato_cents": 20.0, "breath": 0.018, "scoop_cents": 30.0},
    "harmony2": {"scale": 1.05, "tilt": 0.2, "vibrato_cents": 15.0, "breath": 0.018, "scoop_cents": 20.0},
    "adlib": {"scoop_cents": 140.0},
    "chop": {"scale": 1.1, "vibrato_cents": 0.0, "scoop_cents": 160.0},
}
PHRASED_TRACKS = ("lead", "harmony", "harmony2", "adlib")  # legato where notes touch
DOUBLE_DELAY_S, DOUBLE_LEVEL = 0.018, 0.40
CHOP_GATE_16THS = 1.5  # chops are cut this short
SHOUT_CENTS = (-480.0, -35.0, 40.0, 470.0)  # detuning of the voices of a shout


def vocal_track(track: str, palette: str, notes: tuple[Note, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """(first sample, waveform) of each phrase of a track of VOICE_TRACKS, notes in order of time.

    Phrases start a code step early, so that vowels, not consonants, fall on the beat.
    """
    phrases = split_phrases(notes) if track in PHRASED_TRACKS else [(note,) for note in notes]
    for phrase in phrases:
        start = round(phrase[0].start_16th * SIXTEENTH_SAMPLES) - STEP_SAMPLES
        yield start, _perform(track, LEADS[palette], phrase)
    _sung.cache_clear()  # phrases recur within a track only, and 100 of them take 50 MB


def split_phrases(notes: tuple[Note, ...]) -> list[tuple[Note, ...]]:
    """The notes, in order of time, cut at rests."""
    starts = [i for i, note in enumerate(notes) if i == 0 or notes[i - 1].end_16th != note.start_16th]
    return [notes[first:stop] for first, stop in pairwise([*starts, len(notes)])]


def _perform(track: str, lead: Singer, phrase: tuple[Note, ...]) -> np.ndarray:
    """A phrase as its track sings it, (n,) float64."""
    if track == "lead":
        main, double = sing(lead, phrase), sing(_variant(lead, **VARIANTS["double"]), phrase)
        delay = n_samples(DOUBLE_DELAY_S)
        return np.pad(main, (0, delay)) + DOUBLE_LEVEL * np.pad(double, (delay, 0))
    if track == "shout":
        shouting = replace(lead, tilt=0.75, breath=0.04, vibrato_cents=0.0, scoop_cents=-260.0)
        voices = [replace(shouting, cents=cents, formant_scale=1.0 + cents / 4_800) for cents in SHOUT_CENTS]
        return ramped(np.sum([sing(voice, phrase) for voice in voices], axis=0) / 2, 0.002, 0.02)
    if track == "chop":
        phrase = tuple(replace(note, length_16ths=min(note.length_16ths, CHOP_GATE_16THS)) for note in phrase)
    return sing(_variant(lead, **VARIANTS[track]), phrase)


def _variant(lead: Singer, scale: float = 1.0, tilt: float = 0.0, **replaced: float) -> Singer:
    return replace(lead, formant_scale=scale * lead.formant_scale, tilt=lead.tilt + tilt, **replaced)


def sing(singer: Singer, phrase: tuple[Note, ...]) -> np.ndarray:
    """A phrase, notes without rests between them, from its first note to its release, (n,) float64, about -15 dB RMS.

    The same singer, notes and syllables give the same samples, wherever in the song the phrase is.
    """
    origin = phrase[0].start_16th
    return _sung(singer, tuple(replace(note, start_16th=note.start_16th - origin) for note in phrase))


@lru_cache(maxsize=256)
def _sung(singer: Singer, phrase: tuple[Note, ...]) -> np.ndarray:
    controls = _controls(phrase)
    f0_hz = _pitch_hz(controls, singer)
    level = _released(controls.level)
    tilt = singer.tilt + _smooth(controls.dullness, 0.03) + 0.25 * (1 - np.clip(level, 0, 1))
    formants_hz = _formants_hz(controls, singer, f0_hz)
    voiced = _synthesise(f0_hz, formants_hz, BANDWIDTHS_HZ, tilt, level, TOP_HZ, SAMPLE_RATE_HZ, CONTROL)
    controls.noise["breath"] += singer.breath * level
    return 0.25 * voiced + 0.25 * _noises(controls, len(voiced))


class _Controls:
    """What a phrase sets in every control frame, in steps: smoothed later."""

    def __init__(self, n_frames: int) -> None:
        self.log2_hz, self.level, self.dullness, self.vibrato = np.zeros((4, n_frames))  # vibrato: -1..1
        self.formants_hz = np.zeros((n_frames, 5))
        self.noise = {kind: np.zeros(n_frames) for kind in NOISE_BANDS_HZ}  # levels


def _controls(phrase: tuple[Note, ...]) -> _Controls:
    """The controls of a phrase that starts at 0."""
    controls = _Controls(round(phrase[-1].end_16th * FRAMES_PER_SIXTEENTH) + TAIL_FRAMES + 1)
    vowel = "a"
    for note in phrase:
        new_vowel = note.syllable[-1:] if note.syllable[-1:] in VOWELS_HZ else ""
        consonant, vowel = note.syllable.removesuffix(new_vowel), new_vowel or vowel
        _write_note(controls, note, CONSONANTS[consonant], vowel, legato=not new_vowel)
    return controls


def _write_note(controls: _Controls, note: Note, consonant: Consonant, vowel: str, legato: bool) -> None:
    """Sets the frames of one note: those of its vowel, then those of the consonant before it, then its vibrato."""
    start, stop = (round(time * FRAMES_PER_SIXTEENTH) for time in (note.start_16th, note.end_16th))
    controls.log2_hz[start:] = np.log2(midi_hz(note.midi))
    controls.level[start:stop] = 0.4 + 0.6 * note.velocity
    controls.formants_hz[start:] = VOWELS_HZ[vowel]
    length = min(round(consonant.duration_s * FRAMES_PER_S), (stop - start) // 2)
    if length:
        during = slice(start, start + length)
        if consonant.locus_hz:
            controls.formants_hz[during, :3] = consonant.locus_hz
        controls.level[during] *= consonant.voicing
        controls.dullness[during] += consonant.dullness
        if consonant.noise:
            first = max(start, during.stop - 8) if consonant.noise == "burst" else start
            controls.noise[consonant.noise][first : during.stop] = consonant.noise_level * note.velocity
    elif not legato:
        controls.level[start : start + 6] *= 0.3  # a new vowel has an onset
    seconds = np.arange(stop - start) / FRAMES_PER_S - 0.15
    if seconds[-1] > 0.2:  # vibrato fades in, after 150 ms and on notes longer than 350 ms
        controls.vibrato[start:stop] = np.clip(seconds / 0.25, 0.0, 1.0) * np.sin(2 * np.pi * 5.5 * seconds)


def _smooth(controls: np.ndarray, duration_s: float) -> np.ndarray:
    """Steps along the first axis turned into glides of about duration_s."""
    half = max(1, round(duration_s * FRAMES_PER_S / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(controls, [(half, half)] + [(0, 0)] * (controls.ndim - 1), mode="edge")
    columns = padded.reshape(len(padded), -1).T
    glides = [np.convolve(column, window / window.sum(), mode="valid") for column in columns]
    return np.stack(glides, axis=1).reshape(controls.shape)


def _released(level: np.ndarray) -> np.ndarray:
    """The level smoothed, with an onset and a release over the last 50 ms and into the tail."""
    end = len(level) - TAIL_FRAMES
    fade = np.ones(len(level))
    length = min(25, end)
    fade[end - length : end + 15] = 0.5 + 0.5 * np.cos(np.pi * np.linspace(0, 1, length + 15))
    fade[end + 15 :] = 0.0
    fade[:10] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(10) / 10)
    return _smooth(level, 0.024) * fade


def _pitch_hz(controls: _Controls, singer: Singer) -> np.ndarray:
    """Fundamental frequency of every frame: portamento, scoop into the phrase, vibrato."""
    scoop = singer.scoop_cents * np.exp(-np.arange(len(controls.level)) / (0.03 * FRAMES_PER_S))
    cents = singer.cents - scoop + singer.vibrato_cents * controls.vibrato
    return 2 ** (_smooth(controls.log2_hz, 0.045) + cents / 1_200)


def _formants_hz(controls: _Controls, singer: Singer, f0_hz: np.ndarray) -> np.ndarray:
    """Formants of every frame, (n_frames, 7); F1 stays above the pitch, as in trained singers."""
    formants_hz = _smooth(controls.formants_hz, 0.05) * singer.formant_scale
    formants_hz[:, 0] = np.maximum(formants_hz[:, 0], 1.05 * f0_hz)
    upper = np.broadcast_to(UPPER_FORMANTS_HZ, (len(f0_hz), 2))
    return np.concatenate((formants_hz, upper), axis=1)


@njit(cache=True)
def _harmonics(f0_hz, formants_hz, bandwidths_hz, tilt, level, top_hz, out):
    """Writes the complex amplitudes of all harmonics of one control frame into `out`; returns how many there are."""
    n = min(len(out), int(top_hz / f0_hz))
    power = 1e-9
    for k in range(1, n + 1):
        hz = k * f0_hz
        tract = 1.0 + 0.0j
        for i in range(len(bandwidths_hz)):
            ratio = hz / formants_hz[i]
            tract /= (1.0 - ratio * ratio) + 1j * ratio * bandwidths_hz[i] / formants_hz[i]
        fade = min(1.0, (top_hz - hz) / 400.0)  # no harmonic pops in or out at the top
        tract *= abs(tract) ** -FLATTEN
        out[k - 1] = tract * k**-tilt * fade * (hz / (hz + BODY_HZ))
        power += abs(out[k - 1]) ** 2
    out[:n] *= level * power ** (-0.5 * EVENNESS)
    out[n:] = 0.0
    return n


@njit(cache=True)
def _synthesise(f0_hz, formants_hz, bandwidths_hz, tilt, level, top_hz, rate_hz, control):
    """Voiced waveform (n_frames * control,) float64 from controls of n_frames + 1 frames, interpolated linearly."""
    n_frames = len(f0_hz) - 1
    wave = np.zeros(n_frames * control)
    now, after = np.zeros(80, np.complex128), np.zeros(80, np.complex128)
    n_now = _harmonics(f0_hz[0], formants_hz[0], bandwidths_hz, tilt[0], level[0], top_hz, now)
    phase = 0.0
    for frame in range(n_frames):
        to = frame + 1
        n_after = _harmonics(f0_hz[to], formants_hz[to], bandwidths_hz, tilt[to], level[to], top_hz, after)
        for i in range(control):
            share = i / control
            phase += 2.0 * np.pi * (f0_hz[frame] + share * (f0_hz[to] - f0_hz[frame])) / rate_hz
            step = complex(np.cos(phase), np.sin(phase))
            rotation = step
            total = 0.0
            for k in range(max(n_now, n_after)):
                amplitude = now[k] + share * (after[k] - now[k])
                total += amplitude.real * rotation.imag + amplitude.imag * rotation.real
                rotation *= step
            wave[frame * control + i] = total
        now[:] = after
        n_now = n_after
    return wave


def _noises(controls: _Controls, n: int) -> np.ndarray:
    """Breath and consonant noises of a phrase, (n,) float64."""
    frames = np.arange(n) / CONTROL
    total = np.zeros(n)
    for kind, level in controls.noise.items():
        glided = _smooth(level, 0.008 if kind == "burst" else 0.024)
        total += np.interp(frames, np.arange(len(level)), glided) * np.resize(_noise_source(kind), n)
    return total


@lru_cache(maxsize=8)
def _noise_source(kind: str) -> np.ndarray:
    """20 s of fixed noise of a kind, (n,) float64; every phrase reads it from the beginning."""
    return band(noise(20 * SAMPLE_RATE_HZ, 11), *NOISE_BANDS_HZ[kind])
