"""Every song has a title of its own, in the mood of what it was made with."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kpop.generation import titles
from kpop.generation.clips import built_in_clips
from kpop.generation.titles import song_file_name, song_title
from kpop.settings import Settings

N_SONGS = 10_000
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def some_settings() -> list[Settings]:
    """As listeners choose them."""
    chance = random.Random(4)
    names = [clip.name for clip in built_in_clips()] + ["My Demo.mp3"]
    return [
        Settings(
            round(chance.uniform(0, 1), 2),
            round(chance.uniform(0, 2), 2),
            float(chance.randint(4, 300)),
            chance.randrange(10_000),
            chance.choice(names),
        )
        for _ in range(N_SONGS)
    ]


@pytest.fixture(scope="module")
def some_titles(some_settings) -> list[str]:
    return [song_title(settings) for settings in some_settings]


def words_of(titles_given: list[str]) -> set[str]:
    return {word for title in titles_given for word in re.findall(r"[\w'-]+", title)}


def all_words(pools: dict[str, tuple[str, ...]], *moods: str) -> set[str]:
    return {word for mood in moods for word in pools[mood]}


def test_nearly_every_song_has_a_title_that_no_other_has(some_titles):
    assert len(set(some_titles)) >= 0.95 * N_SONGS


def test_titles_are_two_to_five_words_that_fit_on_a_phone(some_titles):
    for title in set(some_titles):
        assert 2 <= len(title.replace(" & ", " ").split()) <= 5, title
        assert len(title) <= 48, title
        assert "{" not in title


def test_each_setting_makes_another_title():
    changes = {"randomness": 0.35, "temperature": 1.05, "length_s": 31.0, "seed_number": 8, "clip": "x", "model": "y"}
    plain = [song_title(Settings(seed_number=n)) for n in range(7, 27)]
    for name, value in changes.items():
        changed = [song_title(Settings(**{"seed_number": n, name: value})) for n in range(7, 27)]
        assert sum(one == other for one, other in zip(plain, changed, strict=True)) <= 2, name


def test_a_title_is_the_same_in_every_process_and_on_the_day_after():
    code = "from kpop.generation.titles import *; print(song_title(Settings(seed_number=99)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == song_title(Settings(seed_number=99)) == "Elevator in Translation"


def test_whole_numbers_make_the_same_title_as_the_same_numbers_with_a_point():
    assert song_title(Settings(1, 1, 30, 7)) == song_title(Settings(1.0, 1.0, 30.0, 7))


def test_where_files_lie_does_not_matter():
    here, there = Settings(clip="a.mp3", model="mine"), Settings(clip="/home/me/a.mp3", model="models/mine.safetensors")
    assert song_title(here) == song_title(there)


@pytest.mark.parametrize(
    ("clip", "mood"), [("first-snow", "bright"), ("sugar-rush", "bouncy"), ("slow-honey", "silky")]
)
def test_titles_are_in_the_mood_of_the_clip(clip, mood):
    used = words_of([song_title(Settings(clip=clip, seed_number=n)) for n in range(300)])
    strange = all_words(titles.ADJECTIVES, "bright", "bouncy", "silky", "dark", "wild") - set(titles.ADJECTIVES[mood])
    assert used & set(titles.ADJECTIVES[mood])
    assert not used & (strange - {"Second", "Slow"})


def test_wild_songs_have_odder_titles_than_safe_ones():
    odd = all_words(titles.NOUNS, "wild") | all_words(titles.ADJECTIVES, "wild")
    safe, wild = (
        [song_title(Settings(temperature=temperature, seed_number=n)) for n in range(200)] for temperature in (1.0, 2.0)
    )
    assert not words_of(safe) & odd
    assert sum(bool(words_of([title]) & odd) for title in wild) > 100


def test_no_title_that_others_made_known_comes_out(some_titles):
    vocabulary = {
        f"{a} {n}".lower() for a in sum(titles.ADJECTIVES.values(), ()) for n in sum(titles.NOUNS.values(), ())
    }
    assert vocabulary >= titles.TAKEN  # each would come out, were it not refused
    assert not {title.lower() for title in some_titles} & titles.TAKEN


def test_a_title_that_is_taken_is_invented_again(monkeypatch):
    usual = song_title(Settings())
    monkeypatch.setattr(titles, "TAKEN", {usual.lower()})
    assert song_title(Settings()) != usual


def test_file_names_are_titles_that_every_file_system_takes(some_settings):
    for settings in some_settings[:2000]:
        name = song_file_name(settings)
        assert re.fullmatch(r"twice4life(-[a-z0-9]+)+\.wav", name), name
    assert song_file_name(Settings(seed_number=99)) == "twice4life-elevator-in-translation.wav"
