"""From a score to sound: every note placed at its sample, every track to the desk."""

from collections.abc import Iterator

import numpy as np

from kpop.constants import BAR_SAMPLES, SIXTEENTH_SAMPLES
from kpop.corpus.choir import performances
from kpop.corpus.drums import hit
from kpop.corpus.mix import mix
from kpop.corpus.score import DRUM_TRACKS, TRACKS, VOICE_TRACKS, Note, Score
from kpop.corpus.synths import impact, riser, tone


def _samples(sixteenths: float) -> int:
    return round(sixteenths * SIXTEENTH_SAMPLES)


def _played(track: str, palette: str, note: Note) -> np.ndarray:
    """The sound of one note of a track that does not sing."""
    if track in DRUM_TRACKS:
        return note.velocity * hit(palette, track)
    if track == "riser":
        return note.velocity * riser(_samples(note.length_16ths))
    if track == "impact":
        return note.velocity * impact()
    return tone(track, palette, note.midi, _samples(note.length_16ths), note.velocity)


def _events(track: str, palette: str, notes: tuple[Note, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """(first sample, waveform) of everything on a track."""
    if track in VOICE_TRACKS:
        yield from performances(track, palette, notes)
    else:
        for note in notes:
            yield _samples(note.start_16th), _played(track, palette, note)


def stem(track: str, palette: str, notes: tuple[Note, ...], n: int) -> np.ndarray:
    """One track alone, before the desk, (n,) float32; what would sound outside 0..n is cut."""
    total = np.zeros(n, np.float32)
    for start, waveform in _events(track, palette, notes):
        first, stop = max(0, start), min(n, start + len(waveform))
        total[first:stop] += waveform[first - start : stop - start]
    return total


def render(score: Score) -> np.ndarray:
    """The song as played and mixed, (n_bars * BAR_SAMPLES,) float32 at 16 kHz, -14 LUFS; same score, same samples."""
    n = score.n_bars * BAR_SAMPLES
    kick_starts = [_samples(note.start_16th) for note in score.tracks.get("kick", ())]
    stems = ((track, stem(track, score.palette, score.tracks[track], n)) for track in TRACKS if score.tracks.get(track))
    return mix(stems, kick_starts, score)
