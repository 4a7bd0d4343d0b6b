"""python -m kpop evaluate: the figures of the model card, measured again."""

import argparse
import json
from pathlib import Path

from kpop.errors import KpopError


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("evaluate", help="measure a model on songs that it has never heard")
    command.add_argument("--model", default="twice4life", help="a checkpoint in models/, or a .safetensors file")
    command.add_argument("--songs", type=int, default=8, help="how many unheard songs, and how many generated ones")
    command.add_argument("--seconds", type=float, default=120.0, help="length of the generated songs")
    command.add_argument("--json", type=Path, help="write the figures there, too")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print one line a figure."""
    if options.songs < 1:
        raise KpopError("An evaluation needs --songs 1 or more: choose such a number.")
    from kpop.evaluation import figures
    from kpop.generation.checkpoints import checkpoint_path
    from kpop.generation.instrument import Instrument

    instrument = Instrument.load(checkpoint_path(options.model))
    songs, times_real_time = figures.timed_corpus(options.songs)
    table = {
        "corpus": {"times_real_time_per_core": times_real_time} | figures.corpus_figures(songs),
        "codec, on unheard songs": figures.codec_figures(instrument.codec, songs),
        "bits per step, on unheard songs": figures.bits_figures(instrument.codec, instrument.lstm, songs),
        "bits per step, as stepped": figures.stepping_figures(instrument, songs),
        "seconds for a song of 30 s": figures.speed_figures(instrument),
        "generated songs": figures.steadiness_figures(instrument, options.songs, options.seconds),
    }
    for part, rows in table.items():
        print(part)
        for name, value in rows.items():
            print(f"  {name.replace('_', ' '):<28} {value:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
