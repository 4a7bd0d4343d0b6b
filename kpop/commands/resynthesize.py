"""python -m kpop resynthesize: hear what each stage of the path of sound keeps."""

import argparse
from pathlib import Path

import numpy as np

STAGES = ("magnitude", "codec")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    command = commands.add_parser("resynthesize", help="hear what a stage of the path of sound keeps")
    command.add_argument("source", type=Path, metavar="IN.wav", help="any sound file")
    command.add_argument("out", type=Path, metavar="OUT.wav")
    command.add_argument(
        "--stage", choices=STAGES, default="codec", help="forget the phase, or pass through the codes too"
    )
    command.add_argument("--model", default="twice4life", help="whose codec")
    command.add_argument("--compare", action="store_true", help="measure librosa's Griffin-Lim on the same sound, too")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the copy at the level of the original, and print how near it comes."""
    from kpop.audio.io import read_audio, write_wav
    from kpop.generation.pipeline import codec_copy, copy_figures, magnitude_copy

    waveform = read_audio(options.source)
    copy = magnitude_copy(waveform) if options.stage == "magnitude" else codec_copy(waveform, _codec(options.model))
    write_wav(options.out, copy)
    print(f"{options.out}: " + _in_words(copy_figures(waveform, copy)))
    if options.compare:
        _compare(waveform)


def _codec(model: str):
    from kpop.checkpoint import load_codec
    from kpop.model_info import checkpoint_path

    return load_codec(checkpoint_path(model))[0]


def _compare(waveform: np.ndarray) -> None:
    from kpop.audio.inversion_report import report

    print("inversion of the true magnitudes, in one run: " + _in_words(report(waveform)))


def _in_words(figures: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in figures.items())
