"""A song's WAV file holds the settings that it was made with; other files, whatever they claim, hold none."""

import io
import json
import struct

import numpy as np
import pytest
import soundfile

from kpop.audio.io import pcm_bytes, wav_bytes
from kpop.generation.metadata import read_metadata, song_tags
from kpop.generation.titles import song_title
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


def test_the_tags_stand_before_the_samples_and_players_show_them():
    assert SONG.index(b"LIST") < SONG.index(b"data")
    assert SONG.endswith(pcm_bytes(WAVEFORM))
    assert struct.unpack("<I", SONG[4:8])[0] == len(SONG) - 8
    with soundfile.SoundFile(io.BytesIO(SONG)) as file:
        assert (file.frames, file.title, file.artist) == (999, song_title(SETTINGS), "Twice4Life")


def test_tags_behind_the_samples_are_read_as_well():
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
