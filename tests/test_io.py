"""Any sound file is read, or one sentence says what to do; a song's file holds its title and its settings."""

import io
import json
import random
import re

import numpy as np
import pytest
import soundfile

from kpop.audio.io import from_pcm, pcm_bytes, read_audio, wav_bytes, wav_header, write_wav
from kpop.constants import SAMPLE_RATE_HZ
from kpop.errors import KpopError
from kpop.generation.clips import built_in_clips
from kpop.generation.metadata import read_metadata, song_tags
from kpop.generation.titles import WORDS, song_file_name, song_title
from kpop.settings import Settings


def stereo(rate_hz: int, duration_s: float = 2.0) -> np.ndarray:
    """440 Hz left, 1000 Hz and a tone above 8 kHz right, as far as the rate allows: (n, 2)."""
    t = np.arange(int(rate_hz * duration_s)) / rate_hz
    too_high = np.sin(2 * np.pi * 11_000 * t) * (rate_hz > 22_000)
    return 0.5 * np.stack([np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 1000 * t) + 0.5 * too_high], 1)


def file_of(samples: np.ndarray, rate_hz: int, **options) -> io.BytesIO:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, **({"format": "WAV"} | options))
    buffer.seek(0)
    return buffer


RATES_AND_FORMATS = [
    *((rate_hz, "WAV") for rate_hz in (8_000, 16_000, 44_100, 96_000)),
    *((44_100, kind) for kind in ("FLAC", "OGG", "MP3")),
]


@pytest.mark.parametrize(("rate_hz", "kind"), RATES_AND_FORMATS)
def test_any_format_and_rate_becomes_mono_at_16_khz_at_the_same_pitch(rate_hz, kind):
    waveform = read_audio(file_of(stereo(rate_hz), rate_hz, format=kind))
    assert (waveform.dtype, waveform.ndim) == (np.float32, 1)
    assert waveform.size == pytest.approx(2 * SAMPLE_RATE_HZ, abs=2000 if kind == "MP3" else 1)
    power = np.abs(np.fft.rfft(waveform[8000:24_000] * np.hanning(16_000))) ** 2
    assert sorted(np.argsort(-power)[:2]) == [440, 1000]
    assert power[[*range(437, 444), *range(997, 1004)]].sum() > 0.999 * power.sum()  # 11 kHz is not folded back
    assert np.std(waveform[8000:24_000]) == pytest.approx(0.25, abs=0.02)


def test_only_as_many_seconds_are_read_as_wanted():
    whole, start = (read_audio(file_of(stereo(44_100, 9), 44_100), max_s) for max_s in (None, 1.5))
    assert abs(start.size - 24_000) <= 1
    np.testing.assert_allclose(start[:20_000], whole[:20_000], atol=1e-4)


@pytest.mark.parametrize("n_samples", [999, 1000])
@pytest.mark.parametrize("tags", [None, {"INAM": "a title", "ICMT": "odd"}])
def test_a_wav_file_gives_its_samples_and_tags_back_and_is_framed_before_they_are_known(n_samples, tags):
    waveform = np.random.default_rng(0).uniform(-1, 1, n_samples).astype(np.float32)
    waveform[:2] = 1.0, -1.0
    content = wav_bytes(waveform, tags)
    assert content == wav_header(n_samples, tags) + pcm_bytes(waveform)
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert (file.samplerate, file.channels, file.subtype) == (SAMPLE_RATE_HZ, 1, "PCM_16")
        assert file.copy_metadata() == ({"title": "a title", "comment": "odd"} if tags else {})
    back = read_audio(io.BytesIO(content))
    np.testing.assert_allclose(back[1:], waveform[1:], atol=0.51 / 32_768)
    assert back[0] == pytest.approx(1.0, abs=1.01 / 32_768)
    assert np.array_equal(from_pcm(pcm_bytes(waveform)), back)
    assert pcm_bytes(back) == pcm_bytes(waveform)


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(b"an older song")
    write_wav(path, np.zeros(100))
    assert path.read_bytes() == wav_bytes(np.zeros(100))
    assert [each.name for each in tmp_path.iterdir()] == ["song.wav"]
    with pytest.raises(KpopError, match="choose a folder"):
        write_wav(tmp_path / "nowhere" / "song.wav", np.zeros(10))


@pytest.mark.parametrize("bad", [[0, 1.01], [0, -1.5], [0, np.nan], [0, np.inf], [[0, 0]]])
def test_what_a_mono_wav_cannot_hold_is_refused(bad):
    with pytest.raises(ValueError, match=r"-1\.\.1"):
        wav_bytes(np.array(bad))


@pytest.mark.parametrize("content", [b"", b"la la la\n" * 50, b"RIFF\x00\x00", wav_bytes(np.zeros(0)), None])
@pytest.mark.parametrize("name", ["song.wav", "song.mp3", "song.raw", "song"])
def test_a_file_without_sound_is_one_sentence(tmp_path, content, name):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for source in (path, io.BytesIO(content or b"")):
        with pytest.raises(KpopError, match=r"^[^\n]{1,400}\.$"):
            read_audio(source)


def test_samples_that_are_not_numbers_are_refused_and_silence_is_not():
    with pytest.raises(KpopError, match="not numbers"):
        read_audio(file_of(np.array([0.0, np.nan, 0.5] * 1000), SAMPLE_RATE_HZ, subtype="FLOAT"))
    assert not read_audio(file_of(np.zeros(500), SAMPLE_RATE_HZ)).any()


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
        *(b"", b"RIFF", b"fLaC" + bytes(100), wav_bytes(np.zeros(10))),
        b"RIFF\xff\xff\xff\xffWAVE" + b"LIST" * 5_000_000,
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
    others = Settings(randomness=0.35), Settings(length_s=31.0), Settings(clip="x"), Settings(model="y")
    assert len({song_title(settings) for settings in (Settings(), *others)}) == 5


def test_titles_are_in_the_mood_of_the_clip_and_odd_only_when_it_is_wild():
    assert words_of(clip="sugar-rush") & words("adjectives", "bouncy")
    assert not words_of(clip="sugar-rush") & words("adjectives", "bright", "dark", "wild")
    assert not words_of(temperature=1.0) & words("nouns", "wild")
    assert words_of(temperature=2.0) & words("nouns", "wild")
