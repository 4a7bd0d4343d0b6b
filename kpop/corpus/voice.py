"""The singers: harmonics of a glottal pulse, shaped by moving formants, a phrase at a time.

Each harmonic is made on its own with the amplitude and phase that source and vocal tract give it there, so the voice
holds nothing above TOP_HZ and no filter can ring or click. Controls move every CONTROL samples, which divide a
sixteenth.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numba import njit

from kpop.constants import SAMPLE_RATE_HZ, SIXTEENTH_SAMPLES, exact_div
from kpop.corpus.score import Note
from kpop.corpus.syllables import CONSONANTS, VOWELS_HZ, Consonant, pronounce
from kpop.corpus.waves import TOP_HZ, band, midi_hz, noise

CONTROL = 32  # samples between controls (2 ms)
FRAMES_PER_SIXTEENTH = exact_div(SIXTEENTH_SAMPLES, CONTROL)
CONTROLS_PER_S = SAMPLE_RATE_HZ / CONTROL
TAIL_FRAMES = 50  # room for the release after a phrase
BANDWIDTHS_HZ = np.array((110.0, 105.0, 140.0, 260.0, 380.0, 450.0, 550.0))
BODY_HZ = 800.0  # the desk's low cut on voices: keeps the fundamental from drowning the vowel
FLATTEN = 0.30  # formants this much shallower, or high notes on dark vowels would whistle like a sine
EVENNESS = 0.8  # 0..1
UPPER_FORMANTS_HZ = (6_000.0, 7_100.0)  # keep the top open: a tract of five resonances alone would be dull


@dataclass(frozen=True)
class Singer:
    """Who sings: the size of the head, the edge of the voice, and habits."""

    formant_scale: float = 1.0  # above 1: smaller, brighter
    tilt: float = 0.85  # power of the harmonics' fall: 0.6 is bright, 1.2 is soft
    breath: float = 0.012
    vibrato_cents: float = 35.0
    cents: float = 0.0  # off pitch, for doubling
    scoop_cents: float = 70.0  # how far below its first note a phrase begins


LEADS = {
    "neon": Singer(1.0, 0.80),
    "velvet": Singer(0.97, 0.95, 0.02, 30.0, 0.0, 110.0),
    "bubblegum": Singer(1.07, 0.84, 0.012, 25.0),
    "noir": Singer(0.95, 0.86, 0.016, 40.0, 0.0, 90.0),
}


@njit(cache=True)
def _harmonics(f0_hz, formants_hz, bandwidths_hz, tilt, level, top_hz, out):
    """Complex amplitudes of all harmonics of one control frame, into `out`; returns how many there are.

    EVENNESS pulls loud and soft vowels together, as a compressor does on a sung track.
    """
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
def _sing(f0_hz, formants_hz, bandwidths_hz, tilt, level, top_hz, rate_hz, control):
    """The voiced sound of a phrase from its controls, (n_frames * control,) float64."""
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
            turn = step
            total = 0.0
            for k in range(max(n_now, n_after)):
                amplitude = now[k] + share * (after[k] - now[k])
                total += amplitude.real * turn.imag + amplitude.imag * turn.real
                turn *= step
            wave[frame * control + i] = total
        now[:] = after
        n_now = n_after
    return wave


def _smooth(controls: np.ndarray, duration_s: float) -> np.ndarray:
    """Steps turned into glides of about duration_s, along the first axis."""
    half = max(1, round(duration_s * CONTROLS_PER_S / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(controls, [(half, half)] + [(0, 0)] * (controls.ndim - 1), mode="edge")
    columns = padded.reshape(len(padded), -1).T
    glides = [np.convolve(column, window / window.sum(), mode="valid") for column in columns]
    return np.stack(glides, axis=1).reshape(controls.shape)


@dataclass
class _Controls:
    """What a phrase asks of the voice in every control frame."""

    log2_hz: np.ndarray  # (n_frames,)
    formants_hz: np.ndarray  # (n_frames, 5)
    level: np.ndarray  # (n_frames,)
    dullness: np.ndarray  # (n_frames,)
    vibrato: np.ndarray  # (n_frames,) -1..1
    noise: dict[str, np.ndarray]  # level of each kind of noise, (n_frames,)


def _blank(n_frames: int) -> _Controls:
    log2_hz, level, dullness, vibrato = (np.zeros(n_frames) for _ in range(4))
    noises = {kind: np.zeros(n_frames) for kind in ("breath", "hiss", "burst")}
    return _Controls(log2_hz, np.zeros((n_frames, 5)), level, dullness, vibrato, noises)


def _write_consonant(controls: _Controls, consonant: Consonant, start: int, stop: int, velocity: float) -> None:
    """Fills the frames of a consonant; those of the vowel are already there."""
    if consonant.locus_hz[0]:
        controls.formants_hz[start:stop, :3] = consonant.locus_hz
    controls.level[start:stop] *= consonant.voicing
    controls.dullness[start:stop] += consonant.dullness
    if consonant.noise:
        first = max(start, stop - 8) if consonant.noise == "burst" else start
        controls.noise[consonant.noise][first:stop] = consonant.noise_level * velocity


def _write_vibrato(controls: _Controls, start: int, stop: int) -> None:
    """5.5 Hz, fading in after 150 ms, on notes that last."""
    seconds = np.arange(stop - start) / CONTROLS_PER_S - 0.15
    if seconds[-1] > 0.2:
        controls.vibrato[start:stop] = np.clip(seconds / 0.25, 0.0, 1.0) * np.sin(2 * np.pi * 5.5 * seconds)


def _write_note(controls: _Controls, note: Note, start: int, stop: int, vowels: str, linked: bool) -> None:
    """Fills the frames of one note; a linked one slides on from the note before."""
    consonant = CONSONANTS[pronounce(note.syllable)[0]]
    controls.log2_hz[start:] = np.log2(midi_hz(note.midi))
    controls.level[start:stop] = 0.4 + 0.6 * note.velocity
    controls.formants_hz[start:] = VOWELS_HZ[vowels[0]]
    controls.formants_hz[stop - (stop - start) * 2 // 5 :] = VOWELS_HZ[vowels[-1]]
    length = min(round(consonant.duration_s * CONTROLS_PER_S), (stop - start) // 2)
    if length:
        _write_consonant(controls, consonant, start, start + length, note.velocity)
    elif not linked:
        controls.level[start : start + 6] *= 0.3  # a fresh vowel starts anew
    _write_vibrato(controls, start, stop)


def _written(phrase: tuple[Note, ...]) -> _Controls:
    """The controls of a phrase, still in steps."""
    origin = phrase[0].start_16th
    edges = [round((note.start_16th - origin) * FRAMES_PER_SIXTEENTH) for note in phrase]
    edges.append(edges[-1] + round(phrase[-1].length_16ths * FRAMES_PER_SIXTEENTH))
    controls = _blank(edges[-1] + TAIL_FRAMES + 1)
    vowels = "a"
    for note, start, stop in zip(phrase, edges[:-1], edges[1:], strict=True):
        spoken = pronounce(note.syllable)[1]
        vowels = spoken or vowels[-1]
        _write_note(controls, note, start, stop, vowels, linked=not spoken)
    return controls


def _released(level: np.ndarray) -> np.ndarray:
    """The level smoothed, and let go over the last 50 ms of the phrase into its tail."""
    glided = _smooth(level, 0.024)
    end = len(level) - TAIL_FRAMES
    fade = np.ones(len(level))
    length = min(25, end)
    fade[end - length : end + 15] = 0.5 + 0.5 * np.cos(np.pi * np.linspace(0, 1, length + 15))
    fade[end + 15 :] = 0.0
    fade[:10] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(10) / 10)
    return glided * fade


@lru_cache(maxsize=8)
def _noise_colour(kind: str) -> np.ndarray:
    """20 s of the fixed noise of a kind, (n,) float64; every phrase reads it from its beginning."""
    edges_hz = {"breath": (1_100.0, 5_200.0), "hiss": (4_600.0, 7_400.0), "burst": (1_500.0, 6_000.0)}[kind]
    return band(noise(20 * SAMPLE_RATE_HZ, 11), *edges_hz)


def _noises(controls: _Controls, n: int) -> np.ndarray:
    """Breath and consonant noises of a phrase, (n,) float64."""
    frames = np.arange(n) / CONTROL
    total = np.zeros(n)
    for kind, level in controls.noise.items():
        glide_s = 0.008 if kind == "burst" else 0.024
        total += np.interp(frames, np.arange(len(level)), _smooth(level, glide_s)) * np.resize(_noise_colour(kind), n)
    return total


def _pitch_hz(controls: _Controls, singer: Singer) -> np.ndarray:
    """Fundamental of every frame: portamento, scoop into the phrase, vibrato."""
    scoop = singer.scoop_cents * np.exp(-np.arange(len(controls.level)) / (0.03 * CONTROLS_PER_S))
    cents = singer.cents - scoop + singer.vibrato_cents * controls.vibrato
    return 2 ** (_smooth(controls.log2_hz, 0.045) + cents / 1_200)


def _tract_hz(controls: _Controls, singer: Singer, f0_hz: np.ndarray) -> np.ndarray:
    """Formants of every frame, (n_frames, 7): singers open the mouth to keep F1 above the pitch."""
    formants_hz = _smooth(controls.formants_hz, 0.05) * singer.formant_scale
    formants_hz[:, 0] = np.maximum(formants_hz[:, 0], 1.05 * f0_hz)
    upper = np.broadcast_to(UPPER_FORMANTS_HZ, (len(f0_hz), 2))
    return np.concatenate((formants_hz, upper), axis=1)


@lru_cache(maxsize=256)
def _sung(singer: Singer, phrase: tuple[Note, ...]) -> np.ndarray:
    """One pass of a phrase by one singer, (n,) float64 at about -15 dB RMS."""
    controls = _written(phrase)
    f0_hz = _pitch_hz(controls, singer)
    level = _released(controls.level)
    tilt = singer.tilt + _smooth(controls.dullness, 0.03) + 0.25 * (1 - np.clip(level, 0, 1))
    formants_hz = _tract_hz(controls, singer, f0_hz)
    voiced = _sing(f0_hz, formants_hz, BANDWIDTHS_HZ, tilt, level, TOP_HZ, SAMPLE_RATE_HZ, CONTROL)
    controls.noise["breath"] += singer.breath * level
    return 0.25 * voiced + 0.25 * _noises(controls, len(voiced))


def sing(singer: Singer, phrase: tuple[Note, ...]) -> np.ndarray:
    """A phrase (notes without rests between them) sung from its first note on, (n,) float64."""
    origin = phrase[0].start_16th
    return _sung(singer, tuple(replace(note, start_16th=note.start_16th - origin) for note in phrase))


def phrases(notes: tuple[Note, ...], longest: int = 64) -> list[tuple[Note, ...]]:
    """The notes cut where there is a rest, or where notes sound together, into runs that one singer can sing."""
    layers: list[list[list[Note]]] = []
    for note in sorted(notes, key=lambda each: (each.start_16th, -each.midi)):
        for runs in layers:
            end = runs[-1][-1].start_16th + runs[-1][-1].length_16ths
            if end <= note.start_16th:
                if end == note.start_16th and len(runs[-1]) < longest:
                    runs[-1].append(note)
                else:
                    runs.append([note])
                break
        else:
            layers.append([[note]])
    return [tuple(run) for runs in layers for run in runs]
