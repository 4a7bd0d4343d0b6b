"""A song's file says how it was made; a stranger's file says nothing, whatever it claims."""

import io
import json
import struct
import time
import wave

import numpy as np
import pytest
import soundfile

from kpop.__main__ import main
from kpop.audio.io import wav_bytes
from kpop.generation.metadata import read_metadata, song_wav, stamp
from kpop.generation.titles import song_title
from kpop.settings import Settings

SETTINGS = Settings(0.35, 1.15, 12.0, 4_294_967_295, "neon-rain", "everything-is-free")


@pytest.fixture(params=[999, 1000], ids=["odd", "even"])
def waveform(request) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, request.param).astype(np.float32)


def commented(comment: object) -> bytes:
    """Somebody's file with this comment."""
    text = comment if isinstance(comment, str) else json.dumps(comment)
    return wav_bytes(np.zeros(10), {"ICMT": text})


def said(**changes) -> dict:
    return json.loads(stamp(SETTINGS)["ICMT"]) | changes


def test_settings_come_out_of_the_file_as_they_went_in(waveform):
    assert read_metadata(song_wav(waveform, SETTINGS)) == SETTINGS
    assert read_metadata(song_wav(waveform, Settings())) == Settings()


def test_the_sound_is_that_of_a_file_without_a_stamp(waveform):
    plain, stamped = wav_bytes(waveform), song_wav(waveform, SETTINGS)
    sounds = [soundfile.read(io.BytesIO(content), dtype="int16")[0] for content in (plain, stamped)]
    assert np.array_equal(*sounds)
    with wave.open(io.BytesIO(stamped)) as file:
        assert file.getnframes() == len(waveform)
        assert np.array_equal(np.frombuffer(file.readframes(len(waveform)), "<i2"), sounds[0])


def test_the_file_is_whole_as_riff_counts_it(waveform):
    content = song_wav(waveform, SETTINGS)
    assert struct.unpack("<I", content[4:8])[0] == len(content) - 8
    assert len(content) % 2 == 0


def test_players_show_title_and_artist(waveform):
    with soundfile.SoundFile(io.BytesIO(song_wav(waveform, SETTINGS))) as file:
        tags = file.copy_metadata()
    assert tags["title"] == song_title(SETTINGS)
    assert tags["artist"] == tags["software"] == "Twice4Life"
    assert json.loads(tags["comment"])["seed_number"] == SETTINGS.seed_number


def test_it_is_told_whether_a_song_began_with_a_file_of_the_listeners_own():
    assert json.loads(stamp(SETTINGS)["ICMT"])["own_clip"] is False
    assert json.loads(stamp(Settings(clip="My Demo.mp3"))["ICMT"])["own_clip"] is True


def test_nobodys_folders_are_told():
    assert "kevin" not in str(stamp(Settings(clip="/home/kevin/demo.mp3", model="/home/kevin/mine.safetensors")))


def test_a_list_before_the_sound_is_found_as_well(waveform):
    content = song_wav(waveform, SETTINGS)
    start = content.rindex(b"LIST")
    moved = content[:12] + content[start:] + content[12:start]
    assert read_metadata(moved) == SETTINGS


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"fLaC" + bytes(100),
        wav_bytes(np.zeros(10)),
        wav_bytes(np.zeros(10), {"INAM": "A song", "ICMT": "recorded in my kitchen"}),
        commented("null"),
        commented([1, 2]),
        commented("[" * 8000),
        commented("9" * 8000),
        commented({"made_by": "Twice4Life"}),
        commented(said(made_by="Somebody")),
        commented(said(version=2)),
        commented(said(randomness=float("nan"))),
        commented(said(temperature=float("inf"))),
        commented(said(temperature=2.01)),
        commented(said(length_s=1e9)),
        commented(said(length_s="30")),
        commented(said(length_s=10**400)),
        commented(said(seed_number=1.5)),
        commented(said(seed_number=True)),
        commented(said(seed_number=-1)),
        commented(said(seed_number=10**4000)),
        commented(said(clip=None)),
        commented(said(clip=["first-snow"])),
        commented(said(model="x" * 10_000)),
        commented(said(clip="x" * 100_000)),
    ],
)
def test_a_file_without_a_sound_stamp_of_ours_says_nothing(content):
    assert read_metadata(content) is None


def test_a_file_that_breaks_off_anywhere_says_nothing_or_the_truth(waveform):
    content = song_wav(waveform, SETTINGS)
    for length in range(len(content) - 400, len(content)):
        assert read_metadata(content[:length]) in (None, SETTINGS)


def test_a_byte_that_flipped_is_no_traceback(waveform):
    content = song_wav(waveform, SETTINGS)
    chance = np.random.default_rng(1)
    for place in chance.integers(len(content) - 400, len(content), 2000):
        damaged = bytearray(content)
        damaged[place] = chance.integers(256)
        found = read_metadata(bytes(damaged))
        assert found is None or isinstance(found, Settings)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_file_of_twenty_megabytes_is_looked_through_at_once(size):
    content = b"RIFF\xff\xff\xff\xffWAVE" + (b"LIST" + struct.pack("<I", size)) * 2_500_000
    start = time.perf_counter()
    assert read_metadata(content) is None
    assert time.perf_counter() - start < 0.1


def test_the_command_line_stamps_its_songs_and_tells_their_titles(tiny_model, tmp_path, capsys):
    out = tmp_path / "song.wav"
    options = ["--seconds", "4", "--seed", "3", "--model", str(tiny_model)]
    assert main(["generate", "--out", str(out), *options]) == 0
    found = read_metadata(out.read_bytes())
    assert found == Settings(length_s=4.0, seed_number=3, model="tiny")
    assert song_title(found) in capsys.readouterr().out
