"""python -m kpop generate: one song into a WAV file."""

import argparse
from dataclasses import fields
from pathlib import Path

from kpop.settings import LENGTH_RANGE_S, GeneratedSong, Settings


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command; its defaults are those of Settings."""
    default = {field.name: field.default for field in fields(Settings)}
    command = commands.add_parser("generate", help="make a song")
    command.add_argument("--out", type=Path, required=True, help="WAV file to write")
    span = f"{LENGTH_RANGE_S[0]:g} to {LENGTH_RANGE_S[1]:g}"
    command.add_argument("--seconds", type=float, default=default["length_s"], help=f"length of the song, {span}")
    command.add_argument("--temperature", type=float, default=default["temperature"], help="0 likeliest path .. 2 wild")
    command.add_argument(
        "--randomness", type=float, default=default["randomness"], help="share of chance in the seed, 0..1"
    )
    command.add_argument("--seed", type=int, default=default["seed_number"], help="another number, another song")
    command.add_argument("--clip", default=default["clip"], help="a built-in seed clip, or a sound file")
    command.add_argument("--model", default=default["model"], help="a checkpoint in models/, or a .safetensors file")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Make the song, write it, and say what was done."""
    settings = Settings(
        options.randomness, options.temperature, options.seconds, options.seed, options.clip, options.model
    )
    from kpop.audio.io import write_wav
    from kpop.engine import engine
    from kpop.generation.clips import find_clip
    from kpop.generation.metadata import stamp
    from kpop.generation.titles import song_title

    song = engine().submit(settings, find_clip(settings.clip)).result()
    write_wav(options.out, song.waveform, stamp(settings))
    print(f"{options.out}: “{song_title(settings)}”, {_summary(song)}")


def _summary(song: GeneratedSong) -> str:
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in song.seconds_taken.items())
    length_s = song.settings.length_s
    return f"{length_s:g} s of song in {song.taken_s:.2f} s ({stages}); the seed ends at {song.seed_end_s:.2f} s"
