"""Song titles, drawn from word lists by a hash of the settings, and the file names made from them."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from kpop.generation.clips import built_in_clips
from kpop.model_info import SUFFIX
from kpop.settings import Settings

LONGEST_NAME = 80
WILD_TEMPERATURE = 1.4  # from here on the "wild" words are mixed in
MOODS = ("bright", "bouncy", "silky", "dark")  # adjectives in the stories of the built-in clips

# Word lists by mood. No two words together may mean what is unfit for a family, and their order is part of every title.
# "taken": well-known names that the words would also give.
WORDS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
SHAPES = {  # weights by the number of titles in each, so that few songs share one
    "{a} {n}": 1,
    "{n} & {other}": 1,
    "{n} in {place}": 1,
    "{n} ({aside})": 1,
    "{a} {n} in {place}": 2,
    "{hour}:{minute:02} {half} ({aside})": 3,
    "{a} {n}, {ending}": 4,
    "{call} {a} {n}": 4,
    "{a} {n} & {other}": 5,
}


def song_title(settings: Settings) -> str:
    """Two to five words such as "Neon Butterfly", in the mood of the seed clip (of files, a random one): the same for
    equal settings, on every machine."""
    draws = _draws(settings)

    def pick(options: Sequence[str]) -> str:
        return options[next(draws) % len(options)]

    story = next((clip.story for clip in built_in_clips() if clip.name == settings.clip), "")
    mood_of_clip = next((mood for mood in MOODS if mood in story.split()), None)
    wild = settings.temperature >= WILD_TEMPERATURE
    title = ""
    while not title or title.lower() in WORDS["taken"]:
        mood = mood_of_clip or pick(MOODS)
        moods = [mood, mood, "any", *["wild"] * (3 * wild)]
        adjectives, nouns = ([word for each in moods for word in WORDS[kind][each]] for kind in ("adjectives", "nouns"))
        noun = pick(nouns)
        title = pick([shape for shape, weight in SHAPES.items() for _ in range(weight)]).format(
            a=pick(adjectives),
            n=noun,
            other=pick([other for other in nouns if other != noun]),
            ending=pick(WORDS["endings"]),
            call=pick(WORDS["calls"]),
            aside=pick([*(WORDS["asides"]["wild"] if wild else ()), *WORDS["asides"]["any"]]),
            place=pick(WORDS["places"]),
            hour=next(draws) % 12,
            minute=next(draws) % 60,
            half=pick(("AM", "AM", "PM")),
        )
    return title


def song_file_name(settings: Settings) -> str:
    """For example "twice4life-neon-butterfly.wav"; safe on every file system."""
    plain = re.sub(r"[^a-z0-9]+", "-", song_title(settings).lower().replace("'", "")).strip("-")
    return f"twice4life-{plain[:LONGEST_NAME]}.wav"


def without_folders(settings: Settings) -> Settings:
    """The settings with clip and model as bare names: paths on the command line are private."""
    return replace(settings, clip=Path(settings.clip).name, model=Path(settings.model).name.removesuffix(SUFFIX))


def _draws(settings: Settings) -> Iterator[int]:
    """Numbers below 2**64 from a chain of BLAKE2b hashes of the settings; unlike `random`, the same in any Python."""
    values = asdict(without_folders(settings))
    plain = {key: value if isinstance(value, str) else float(value) for key, value in values.items()}
    digest = hashlib.blake2b(json.dumps(plain, sort_keys=True).encode()).digest()
    while True:
        digest = hashlib.blake2b(digest).digest()
        yield int.from_bytes(digest[:8], "big")
