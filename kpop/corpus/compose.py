"""The corpus: a song for every number, its labels, and a folder of WAV and JSON files.

A song depends on its number alone: `render(compose(number))` is its waveform, `step_labels(compose(number))` are its
labels.
"""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from kpop.audio.io import write_wav
from kpop.constants import (
    HIGHEST_TUNE_MIDI,
    HOP_LENGTH,
    LABEL_SIZES,
    LOWEST_TUNE_MIDI,
    SAMPLE_RATE_HZ,
    SIXTEENTHS_PER_BAR,
    STEPS_PER_BAR,
    STEPS_PER_SIXTEENTH,
    TEMPO_BPM,
)
from kpop.corpus import theory
from kpop.corpus.arrangement import arrange, choose_arrangement
from kpop.corpus.lyrics import syllables
from kpop.corpus.melody import write_tunes
from kpop.corpus.mix import render, render_stems
from kpop.corpus.score import KINDS, PALETTES, Chord, Chords, Passage, Score, Section

# Carried by caches, checkpoints and the similarity index. Change it whenever a number gives another song: then
# tests/test_golden.py fails.
CORPUS_VERSION = "2026-11-28"
CORPUS_DATA = f"own corpus, version {CORPUS_VERSION}"  # the "data" in the info of a checkpoint trained on it
# Kind and bars of each section. All start at a multiple of four bars, the period of the LSTM's metre positions.
FORMS = (
    "intro 4, verse 8, prechorus 4, chorus 8, postchorus 4, verse 8, prechorus 4, chorus 8, postchorus 4, bridge 8, "
    "chorus 8, postchorus 4, outro 4",
    "intro 4, verse 8, prechorus 8, chorus 8, verse 8, prechorus 8, chorus 8, dance 8, chorus 8, postchorus 8, outro 4",
    "intro 8, verse 8, prechorus 4, chorus 8, postchorus 4, verse 8, prechorus 4, chorus 8, postchorus 4, dance 8, "
    "bridge 4, chorus 8, postchorus 8, outro 4",
    "chorus 4, intro 4, verse 8, prechorus 4, chorus 8, verse 8, prechorus 4, chorus 8, bridge 8, chorus 8, "
    "postchorus 4, outro 4",
    "intro 4, verse 8, prechorus 4, chorus 8, verse 8, prechorus 4, chorus 8, bridge 4, chorus 8, postchorus 4, "
    "outro 4",
    "intro 4, verse 8, prechorus 4, chorus 8, postchorus 8, verse 8, prechorus 4, chorus 8, postchorus 8, bridge 4, "
    "dance 4, chorus 8, outro 4",
    "intro 4, verse 8, prechorus 4, chorus 8, verse 8, prechorus 4, chorus 8, postchorus 4, dance 4, bridge 4, "
    "chorus 8, outro 4",
)
KEY_CHANGES = (0, 0, 1, 1, 2, 2)  # semitones up at the last chorus
TUNE_BARS = 8  # length of a written tune; shorter sections sing its beginning
BLOCK_BARS = 4  # the first four bars of a section and the later ones are classes of their own
PITCH_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def compose(number: int) -> Score:
    """The song of a number, 0 or greater: the same score every time."""
    rng = np.random.default_rng(number)
    palette = theory.pick(PALETTES, rng)
    slowest_bpm, fastest_bpm = theory.TEMPI_BPM[palette]
    hop = round(HOP_LENGTH * TEMPO_BPM / rng.uniform(slowest_bpm, fastest_bpm))
    mode = "minor" if rng.random() < theory.MINOR_SHARE[palette] else "major"
    key = theory.pick(theory.TONICS[palette], rng), mode
    loops = theory.choose_loops(mode, rng)
    sections = choose_sections(*key, rng)
    chords = write_chords(sections, loops, palette)
    first_key = {kind: theory.harmonise(Section(kind, 0, TUNE_BARS, *key), loops, palette) for kind in KINDS}
    tunes = write_tunes(first_key, key, rng)
    tracks = arrange(passages(sections, chords), choose_arrangement(palette, rng), tunes)
    return Score(number, palette, hop, sections, sum(chords, ()), tracks)


def choose_sections(tonic: int, mode: str, rng: np.random.Generator) -> tuple[Section, ...]:
    """The sections of a form, in a higher key from the last chorus on if there is a key change."""
    form = [part.split() for part in theory.pick(FORMS, rng).split(", ")]
    semitones_up, raised_from = theory.pick(KEY_CHANGES, rng), _last_chorus([kind for kind, _ in form])
    sections, first_bar = [], 0
    for index, (kind, n_bars) in enumerate(form):
        key = (tonic + semitones_up * (index >= raised_from)) % 12
        sections.append(Section(kind, first_bar, int(n_bars), key, mode))
        first_bar += int(n_bars)
    return tuple(sections)


def write_chords(sections: tuple[Section, ...], loops: dict[str, str], palette: str) -> list[Chords]:
    """The chords of every section, with the dominant before a key change and the tonic at the end."""
    chords = [theory.harmonise(section, loops, palette) for section in sections]
    for index, (here, there) in enumerate(pairwise(sections)):
        if here.tonic != there.tonic:
            dominant = (there.tonic + 7) % 12
            chords[index] = (*chords[index][:-1], (Chord(dominant, "sus4"), Chord(dominant, "maj")))
    final = Chord(sections[-1].tonic, "maj" if sections[-1].mode == "major" else "min")
    chords[-1] = (*chords[-1][:-1], (final, final))
    return chords


def passages(sections: tuple[Section, ...], chords: list[Chords]) -> tuple[Passage, ...]:
    """Each section with its chords and its position in the form."""
    kinds = [section.kind for section in sections]
    return tuple(
        Passage(
            **vars(section),
            chords=chords[index],
            occurrence=kinds[:index].count(section.kind),
            is_last_chorus=index == _last_chorus(kinds),
            leads_to_chorus=kinds[index + 1 : index + 2] == ["chorus"],
            semitones_up=(section.tonic - sections[0].tonic) % 12,
        )
        for index, section in enumerate(sections)
    )


def _last_chorus(kinds: list[str]) -> int:
    return len(kinds) - 1 - kinds[::-1].index("chorus")


def labels(score: Score) -> dict:
    """The labels of a song, ready for JSON: times in seconds, two chords per bar, the tune of the lead."""

    def span(start_16th: float, length_16ths: float) -> dict[str, float]:
        ends_16th = {"start_s": start_16th, "end_s": start_16th + length_16ths}
        return {name: time * score.sixteenth_samples / SAMPLE_RATE_HZ for name, time in ends_16th.items()}

    return {
        "number": score.number,
        "tempo_bpm": score.tempo_bpm,
        "keys": list(dict.fromkeys(_key_name(section) for section in score.sections)),
        "palette": score.palette,
        "sections": [
            {
                "kind": section.kind,
                **span(section.first_bar * SIXTEENTHS_PER_BAR, section.n_bars * SIXTEENTHS_PER_BAR),
                "key": _key_name(section),
            }
            for section in score.sections
        ],
        "chords": [[f"{PITCH_NAMES[chord.root]}:{chord.quality}" for chord in bar] for bar in score.chords],
        "lead": [
            {**span(note.start_16th, note.length_16ths), "midi": note.midi, "syllable": note.syllable}
            for note in score.tracks["lead"]
        ],
    }


def _key_name(section: Section) -> str:
    return f"{PITCH_NAMES[section.tonic]} {section.mode}"


def step_labels(score: Score) -> np.ndarray:
    """Labels (n_bars * STEPS_PER_BAR, 5) uint8 of each step: classes of section, key, chord, tune and syllable
    (LABEL_SIZES)."""
    steps = np.zeros((score.n_bars * STEPS_PER_BAR, len(LABEL_SIZES)), np.uint8)
    for section in score.sections:
        first, length = section.first_bar * STEPS_PER_BAR, section.n_bars * STEPS_PER_BAR
        later = np.arange(length) >= BLOCK_BARS * STEPS_PER_BAR
        steps[first : first + length, 0] = 1 + 2 * KINDS.index(section.kind) + later
        first_class = theory.FIRST_MINOR if section.mode == "minor" else theory.FIRST_MAJOR
        steps[first : first + length, 1] = first_class + section.tonic
    steps[:, 2] = np.repeat([theory.chord_class(chord) for bar in score.chords for chord in bar], STEPS_PER_BAR // 2)
    for track in ("lead", "rap"):
        for note in score.tracks[track]:
            first, stop = (round(time * STEPS_PER_SIXTEENTH) for time in (note.start_16th, note.end_16th))
            if track == "lead":
                steps[first:stop, 3] = tune_class(note.midi, begins=False)
                steps[first, 3] = tune_class(note.midi, begins=True)
            # a note without a syllable goes on with the one before
            steps[first:stop, 4] = 1 + syllables().index(note.syllable) if note.syllable else steps[first - 1, 4]
    return steps


def tune_class(midi: int, begins: bool) -> int:
    """Class of a note of the tune, its pitch clipped: 1, 3, 5 ... as it begins, 2, 4, 6 ... as it goes on."""
    return 1 + 2 * (min(max(midi, LOWEST_TUNE_MIDI), HIGHEST_TUNE_MIDI) - LOWEST_TUNE_MIDI) + (not begins)


def song_name(number: int) -> str:
    """File name, without suffix, of a song of the corpus."""
    return f"song-{number:05d}"


def write_corpus(out_dir: Path, n_songs: int, first: int = 0, n_jobs: int = 1, stems: bool = False) -> Iterator[int]:
    """Write songs first..first + n_songs - 1 as 16-bit mono WAV with labels in JSON beside each, in n_jobs processes.

    stems: also write stems/SONG/BUS.wav of each of mix.BUSES, which add up to the song. Yields the number of each song
    whose files are complete.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with nullcontext() if n_jobs == 1 else get_context("spawn").Pool(n_jobs) as pool:
        in_turn = pool.imap_unordered if pool else map
        yield from in_turn(partial(_write_song, out_dir, stems), range(first, first + n_songs))


def _write_song(out_dir: Path, stems: bool, number: int) -> int:
    """Write one song, completely or not at all; returns its number."""
    score = compose(number)
    target = out_dir / song_name(number)
    part_json = target.with_suffix(".json.part")
    part_json.write_text(json.dumps(labels(score)), encoding="utf-8")
    part_json.replace(target.with_suffix(".json"))
    if stems:
        folder = out_dir / "stems" / song_name(number)
        folder.mkdir(parents=True, exist_ok=True)
        for name, waveform in render_stems(score).items():
            write_wav(folder / f"{name}.wav", waveform)
    write_wav(target.with_suffix(".wav"), render(score))
    return number
