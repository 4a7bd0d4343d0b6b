"""A song's WAV file holds the settings that it was made with, and every song has a title of its own."""

import io
import json
import random
import re

import numpy as np
import pytest
import soundfile

from kpop.audio.io import wav_bytes
from kpop.generation.clips import built_in_clips
from kpop.generation.metadata import read_metadata, song_tags
from kpop.generation.titles import WORDS, song_file_name, song_title
from kpop.settings import Settings

SETTINGS = Settings(0.35, 1.15, 12.0, 4_294_967_295, "neon-rain", "everything-is-free")
WAVEFORM = np.random.default_rng(0).uniform(-1, 1, 999).astype(np.float32)
SONG = wav_bytes(WAVEFORM, song_tags(SETTINGS))


def commented(comment: object) -> bytes:
    return wav_bytes(np.zeros(10), {"ICMT": comment if isinstance(comment, str) else json.dumps(comment)})


def changed(**changes) -> bytes:
    return commented(json.loads(song_tags(SETTINGS)["ICMT"]) | changes)


@pytest.mark.parametrize("settings", [SETTINGS, Settings(), Settings(clip="내 데모 für dich.mp3")])
def test_settings_come_out_of_the_file_as_they_went_in(settings):
    assert read_metadata(wav_bytes(WAVEFORM, song_tags(settings))) == settings


def test_players_show_the_tags_and_tags_behind_the_samples_are_read_as_well():
    with soundfile.SoundFile(io.BytesIO(SONG)) as file:
        assert (file.frames, file.title, file.artist) == (999, song_title(SETTINGS), "Twice4Life")
    start, stop = SONG.index(b"LIST"), SONG.rindex(b"data")
    assert read_metadata(SONG[:start] + SONG[stop:] + SONG[start:stop]) == SETTINGS


def test_tags_keep_the_listeners_folders_private():
    tags = song_tags(Settings(clip="/home/kevin/demo.mp3", model="/home/kevin/mine.safetensors"))
    assert json.loads(tags["ICMT"])["own_clip"] is True
    assert "kevin" not in str(tags)


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"RIFF",
            b"fLaC" + bytes(100),
            wav_bytes(np.zeros(10)),
            b"RIFF\xff\xff\xff\xffWAVE" + b"LIST" * 5_000_000,
        ),
        *map(commented, ("recorded in my kitchen", "null", [1, 2], "[" * 8000, "9" * 8000, {"made_by": "Twice4Life"})),
        *(changed(made_by="Somebody"), changed(version=2), changed(clip=None), changed(model="x" * 500)),
        *(changed(temperature=value) for value in (float("nan"), float("inf"), 2.01, "1", 10**400)),
        *(changed(seed_number=value) for value in (1.5, True, -1, 10**4000)),
    ],
)
def test_a_file_without_valid_settings_of_ours_holds_none(content):
    assert read_metadata(content) is None


def test_a_damaged_file_is_no_error():
    rng = np.random.default_rng(1)
    for place in rng.integers(len(SONG) - 400, len(SONG), 500):
        assert read_metadata(SONG[:place]) in (None, SETTINGS)
        assert isinstance(read_metadata(SONG[:place] + rng.bytes(1) + SONG[place + 1 :]), Settings | None)


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


def test_nearly_every_title_is_unique_and_all_fit_on_a_phone_and_on_every_file_system():
    assert len(set(TITLES)) >= 0.95 * len(SONGS)
    assert not {title.lower() for title in TITLES} & set(WORDS["taken"])
    assert all(2 <= len(title.replace(" & ", " ").split()) <= 5 and len(title) <= 48 for title in TITLES)
    assert all(re.fullmatch(r"twice4life(-[a-z0-9]+)+\.wav", song_file_name(settings)) for settings in SONGS[:1000])


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
