"""Makes the built-in seed clips: four bars each of composed songs whose numbers no training reaches."""

import json
from collections.abc import Iterator
from itertools import count, groupby
from pathlib import Path

from kpop.constants import BEAT_16THS, CLIP_STEPS, SAMPLE_RATE_HZ, SEED_BARS, SIXTEENTHS_PER_BAR, STEPS_PER_BAR
from kpop.corpus.compose import compose, step_labels
from kpop.corpus.mix import render
from kpop.corpus.score import Score, Section

FIRST_UNHEARD_NUMBER = 1_000_000  # training takes songs from 0 on
PLAN = (  # title, palette, kind of section, mode
    ("First Snow", "neon", "verse", "major"),
    ("Neon Rain", "neon", "chorus", "minor"),
    ("Strawberry Moon", "bubblegum", "verse", "major"),
    ("Sugar Rush", "bubblegum", "chorus", "major"),
    ("Midnight Taxi", "velvet", "verse", "minor"),
    ("Slow Honey", "velvet", "chorus", "major"),
    ("Black Mirror Ball", "noir", "verse", "minor"),
    ("Last Train Home", "noir", "chorus", "minor"),
    ("Paper Lanterns", "aurora", "prechorus", "minor"),
    ("Glass Birds", "aurora", "chorus", "major"),
    ("Cherry Static", "citrus", "chorus", "major"),
    ("Mango Radio", "citrus", "verse", "minor"),
)
MOODS = {
    "neon": "bright",
    "bubblegum": "bouncy",
    "velvet": "silky",
    "noir": "dark",
    "aurora": "dreamy",
    "citrus": "sunny",
}
KINDS = {"prechorus": "pre-chorus"}
MIN_SUNG_SHARE = 0.5  # of a clip's time
NOTE_NAMES = ("C", "D flat", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")


def make_clips(out_dir: Path) -> Iterator[str]:
    """Write NAME.flac of each clip and clips.json; yields each title when it is done."""
    import soundfile

    out_dir.mkdir(parents=True, exist_ok=True)
    entries, number = [], FIRST_UNHEARD_NUMBER
    for title, palette, kind, mode in PLAN:
        score, section = next(
            (score, section)
            for score in map(compose, count(number))
            for section in score.sections
            if (score.palette, section.kind, section.mode) == (palette, kind, mode) and is_sung(score, section)
        )
        number, name = score.number + 1, title.lower().replace(" ", "-")
        start, first_step = section.first_bar * score.bar_samples, section.first_bar * STEPS_PER_BAR
        waveform = render(score)[start : start + SEED_BARS * score.bar_samples + BEAT_16THS * score.sixteenth_samples]
        soundfile.write(out_dir / f"{name}.flac", waveform, SAMPLE_RATE_HZ, subtype="PCM_16")
        steps = step_labels(score)[first_step : first_step + CLIP_STEPS].tolist()
        labels = [[len(list(run)), *classes] for classes, run in groupby(steps)]
        key = f"{NOTE_NAMES[section.tonic]} {mode}"
        story = f"a {MOODS[palette]} {KINDS.get(kind, kind)} in {key}, {score.tempo_bpm:.0f} BPM"
        source = {"song_number": score.number, "first_bar": section.first_bar, "hop": score.hop, "labels": labels}
        entries.append({"name": name, "title": title, "story": story, **source})
        yield title
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    (out_dir / "clips.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def is_sung(score: Score, section: Section) -> bool:
    """Whether a clip from the section's start begins with a singer, who sings most of it."""
    first_16th, length_16ths = section.first_bar * SIXTEENTHS_PER_BAR, SEED_BARS * SIXTEENTHS_PER_BAR
    notes = [note for note in score.tracks["lead"] if 0 <= note.start_16th - first_16th < length_16ths]
    sung_16ths = sum(note.length_16ths for note in notes)
    begins = bool(notes) and notes[0].start_16th - first_16th <= BEAT_16THS
    return section.n_bars >= SEED_BARS and begins and sung_16ths >= MIN_SUNG_SHARE * length_16ths
