"""Every song has a title of its own, in the mood of its seed clip."""

import random
import re

import pytest

from kpop.generation.clips import built_in_clips
from kpop.generation.titles import WORDS, song_file_name, song_title
from kpop.settings import Settings

RNG = random.Random(4)
NAMES = [clip.name for clip in built_in_clips()] + ["My Demo.mp3"]
SONGS = [
    Settings(round(RNG.random(), 2), round(2 * RNG.random(), 2), 30.0, RNG.randrange(10_000), RNG.choice(NAMES))
    for _ in range(3000)
]
TITLES = [song_title(settings) for settings in SONGS]


def words_of(**settings) -> set[str]:
    """All words in 300 titles that differ by their seed number."""
    titles = (song_title(Settings(seed_number=number, **settings)) for number in range(300))
    return {word for title in titles for word in re.findall(r"[\w'-]+", title)}


def words(kind: str, *moods: str) -> set[str]:
    return {word for mood in moods for word in WORDS[kind][mood]}


def test_nearly_every_song_has_a_title_that_no_other_has():
    assert len(set(TITLES)) >= 0.95 * len(SONGS)
    assert not {title.lower() for title in TITLES} & set(WORDS["taken"])


def test_titles_are_two_to_five_words_that_fit_on_a_phone():
    assert all(2 <= len(title.replace(" & ", " ").split()) <= 5 and len(title) <= 48 for title in TITLES)


def test_the_title_of_settings_never_changes():
    assert song_title(Settings(seed_number=99)) == "Elevator in Translation"
    assert song_file_name(Settings(seed_number=99)) == "twice4life-elevator-in-translation.wav"
    assert song_title(Settings(1, 1, 30, 7)) == song_title(Settings(1.0, 1.0, 30.0, 7))


@pytest.mark.parametrize(("field", "value"), [("randomness", 0.35), ("length_s", 31.0), ("clip", "x"), ("model", "y")])
def test_each_setting_makes_another_title(field, value):
    pairs = [
        (song_title(Settings(seed_number=n)), song_title(Settings(seed_number=n, **{field: value}))) for n in range(20)
    ]
    assert sum(one == other for one, other in pairs) <= 2


def test_titles_are_in_the_mood_of_the_clip_and_odd_only_when_it_is_wild():
    assert words_of(clip="sugar-rush") & words("adjectives", "bouncy")
    assert not words_of(clip="sugar-rush") & words("adjectives", "bright", "dark", "wild")
    assert not words_of(temperature=1.0) & words("nouns", "wild")
    assert words_of(temperature=2.0) & words("nouns", "wild")


def test_file_names_suit_every_file_system():
    assert all(re.fullmatch(r"twice4life(-[a-z0-9]+)+\.wav", song_file_name(settings)) for settings in SONGS[:1000])
