"""Makes the built-in seed clips: four bars each of composed songs whose numbers no training reaches."""

import json
from collections.abc import Iterator
from itertools import count, groupby
from pathlib import Path

from kpop.constants import BAR_SAMPLES, CLIP_SAMPLES, SAMPLE_RATE_HZ, SEED_BARS, STEP_SAMPLES, STEPS_PER_BAR
from kpop.corpus.compose import compose, step_labels
from kpop.corpus.mix import render

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
    ("Paper Lanterns", "neon", "prechorus", "minor"),
    ("Cherry Static", "bubblegum", "postchorus", "major"),
)
MOODS = {"neon": "bright", "bubblegum": "bouncy", "velvet": "silky", "noir": "dark"}
KINDS = {"prechorus": "pre-chorus", "postchorus": "post-chorus"}
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
            if (score.palette, section.kind, section.mode) == (palette, kind, mode) and section.n_bars >= SEED_BARS
        )
        number, name = score.number + 1, title.lower().replace(" ", "-")
        start, first_step = section.first_bar * BAR_SAMPLES, section.first_bar * STEPS_PER_BAR
        waveform = render(score)[start : start + CLIP_SAMPLES]
        soundfile.write(out_dir / f"{name}.flac", waveform, SAMPLE_RATE_HZ, subtype="PCM_16")
        steps = step_labels(score)[first_step : first_step + CLIP_SAMPLES // STEP_SAMPLES].tolist()
        labels = [[len(list(run)), *classes] for classes, run in groupby(steps)]
        story = f"a {MOODS[palette]} {KINDS.get(kind, kind)} in {NOTE_NAMES[section.tonic]} {mode}"
        source = {"song_number": score.number, "first_bar": section.first_bar, "labels": labels}
        entries.append({"name": name, "title": title, "story": story, **source})
        yield title
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    (out_dir / "clips.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
