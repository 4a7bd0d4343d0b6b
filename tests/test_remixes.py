"""Remixes of stems: on the grid, varied, repeatable, and never on both sides of the split."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from rhythms import clicks

from kpop.audio.beat import onset_times
from kpop.constants import N_METRE_POSITIONS, SAMPLE_RATE_HZ
from kpop.errors import KpopError
from kpop.training import remixes
from kpop.training.data import TrainingSong, split, to_int16
from kpop.training.remixes import Remix, StemSong, draw_remix, group_of, read_stems, remixed_songs, render, work_of

BPM, N_BARS, LATE_S = 132, 48, 0.7
HOP = 227  # 240 * 125 / 132
BAR_SAMPLES = 128 * HOP


def stems(bpm: float = BPM, n_bars: int = N_BARS, late_s: float = LATE_S) -> dict[str, np.ndarray]:
    """Stems of a song that begins `late_s` into its recording: kicks on one and three, hats, chords and a voice."""
    seconds, beat_s = late_s + n_bars * 240 / bpm + 1, 60 / bpm
    beats = late_s + np.arange(n_bars * 4) * beat_s
    times_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    bar = ((times_s - late_s) / (4 * beat_s)).astype(int)
    inside = (times_s >= late_s) & (bar < n_bars)
    chord = np.sin(2 * np.pi * np.cumsum(np.array([220.0, 174.6, 261.6, 196.0])[bar % 4]) / SAMPLE_RATE_HZ)
    return {
        "KICK": clicks(beats[::2], 70, seconds),
        "HH": clicks(np.sort(np.concatenate([beats, beats + beat_s / 2])), 6000, seconds),
        "PAD": (0.1 * chord * inside).astype(np.float32),
        "VOX": (0.1 * np.sin(2 * np.pi * 440 * times_s) * (inside & (bar >= 8))).astype(np.float32),
    }


def save(folder: Path, sounds: dict[str, np.ndarray]) -> list[Path]:
    folder.mkdir(parents=True)
    for name, sound in sounds.items():
        soundfile.write(folder / f"{folder.name}_Stem_{name}.wav", sound, SAMPLE_RATE_HZ)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    """A folder with a song as stems and as a mix, and a plain song."""
    folder = tmp_path_factory.mktemp("album")
    save(folder / "stems" / "1.Neon", stems())
    (folder / "mixes").mkdir()
    soundfile.write(folder / "mixes" / f"1_Neon_mix_{BPM}bpm.wav", sum(stems().values()), SAMPLE_RATE_HZ)
    soundfile.write(folder / "mixes" / "2_Plain.wav", sum(stems(125, 10).values()), SAMPLE_RATE_HZ)
    return folder


@pytest.fixture(scope="module")
def songs(album, tmp_path_factory) -> list[TrainingSong]:
    return remixed_songs(album, 4, tmp_path_factory.mktemp("cache"), 1, lambda line: None)


@pytest.fixture(scope="module")
def neon(album) -> StemSong:
    return remixes.read_stem_song(sorted((album / "stems" / "1.Neon").iterdir()), lambda line: None)


def late_ms(waveform: np.ndarray) -> np.ndarray:
    """How late onsets are against the eighths of the grid."""
    eighth_s = BAR_SAMPLES / SAMPLE_RATE_HZ / 8
    return 1000 * ((onset_times(waveform)[0] + eighth_s / 2) % eighth_s - eighth_s / 2)


def test_a_song_at_132_bpm_lands_on_its_grid_at_its_beginning_and_end(neon):
    percussion = np.outer(neon.groups == "percussion", np.ones(N_BARS))
    played = render(Remix(0, 0, percussion), neon)
    assert neon.hop == HOP
    assert len(played) == N_BARS * BAR_SAMPLES
    assert abs(neon.speed - 1) < 0.004
    for end in (played[: 4 * BAR_SAMPLES], played[-4 * BAR_SAMPLES :]):
        assert len(late_ms(end)) > 25
        assert np.abs(np.median(late_ms(end))) < 2
        assert np.percentile(np.abs(late_ms(end)), 90) < 4


def test_every_version_begins_with_a_phrase_and_counts_every_step(songs):
    versions = [song for song in songs if work_of(song.name) == "1 neon"]
    assert len(versions) == 5
    for song in versions:
        assert len(song.waveform) % (4 * BAR_SAMPLES) == 0
        np.testing.assert_array_equal(song.metre_positions, np.arange(song.n_steps) % N_METRE_POSITIONS)
        assert "mix_" not in song.name or np.abs(np.median(late_ms(song.waveform / np.float32(32767)))) < 2


@pytest.mark.parametrize(("bpm", "late_s"), [(132, 0.7), (118.37, 2.31), (264, 0.2), (90, 1.1)])
def test_tempo_phase_and_phrase_of_stems_are_found(bpm, late_s):
    sounds = stems(bpm, 60, late_s)
    groups = np.array([group_of(name) for name in sounds])
    beats = remixes.stem_beats(groups, np.stack([to_int16(sound) for sound in sounds.values()]))
    assert abs(beats.tempo_bpm / (132 if bpm == 264 else bpm) - 1) * 300 < 0.005  # s of drift over five minutes
    phrase_s = 4 * 240 / beats.tempo_bpm
    assert abs((late_s - beats.beats_s[0] + phrase_s / 2) % phrase_s - phrase_s / 2) < 0.003
    assert beats.beats_s[0] <= 0.003


def test_a_part_falls_silent_and_returns_on_bar_lines(neon):
    rests = np.array([True] * 2 + [False] * 4 + [True] * 2)
    played = np.abs(render(Remix(4, 0, np.outer(neon.groups == "others", rests)), neon)).reshape(8, -1)
    assert (played[rests].max(1) > 0.05).all()
    assert (played[~rests, 300:-300] < 1e-3).all()
    for edge in (played[6, 200:1000], played[1, -BAR_SAMPLES // 4 : -400]):
        assert edge.max() > 0.08, "whole from bar line to bar line"


def test_rests_come_in_whole_phrases_and_never_silence_all():
    groups = np.array(["percussion", "others", "others", "voices"])
    n_changes = 0
    for seed in range(40):
        remix = draw_remix(np.ones((4, 80), bool), groups, 0.5, np.random.default_rng(seed))
        plays = remix.gains > 0
        by_phrase = plays.reshape(4, -1, 4)
        assert remix.first_bar % 4 == 0
        assert 8 <= by_phrase.shape[1] <= 15
        assert (by_phrase.all(2) | ~by_phrase.any(2)).all()
        assert plays.any(0).all()
        assert np.abs(20 * np.log10(remix.gains[plays])).max() <= 4.001
        n_changes += np.count_nonzero(np.diff(plays, axis=1))
    assert n_changes > 40


def test_remixes_are_repeatable_different_and_cached(album, songs, tmp_path, monkeypatch):
    again = remixed_songs(album, 4, tmp_path, 1, lambda line: None)
    assert [song.name for song in again] == [song.name for song in songs]
    assert [song.waveform.tobytes() for song in again] == [song.waveform.tobytes() for song in songs]
    assert len({song.waveform.tobytes() for song in songs if "/remix-" in song.name}) == 4
    monkeypatch.setattr(remixes, "read_stem_song", lambda *args: pytest.fail("read again"))
    remixed_songs(album, 4, tmp_path, 1, lambda line: None)


def test_all_versions_of_a_work_are_on_one_side(songs):
    for held_out_work in ("1.Neon", "1_Neon_mix_132bpm.wav", None):
        train, held_out = ({work_of(song.name) for song in side} for side in split(songs, work_of, held_out_work))
        assert train | held_out == {"1 neon", "2 plain"}
        assert held_out == {"1 neon"} or (held_out_work is None and len(held_out) == 1)
    with pytest.raises(KpopError, match="1 neon, 2 plain"):
        split(songs, work_of, "3.Absent")


def test_unusable_stems_are_named_and_the_rest_goes_on(tmp_path):
    pad, rng = stems(n_bars=8)["PAD"], np.random.default_rng(0)
    torn = save(tmp_path / "7.Beats", stems(n_bars=8) | {"CUT": pad[:20_000], "TORN": pad})[-2]
    torn.write_bytes(torn.read_bytes()[:20])
    save(tmp_path / "8.X", {name: np.zeros(4000) for name in "AB"} | {"C": np.zeros(9000)})
    save(tmp_path / "9.Y", {name: clicks(np.sort(rng.uniform(0, 59, 300)), 2000, 60.0) for name in "ABC"})
    soundfile.write(tmp_path / "plain.wav", sum(stems(125, 10).values()), SAMPLE_RATE_HZ)
    lines = []
    songs = remixed_songs(tmp_path, 1, tmp_path / "cache", 1, lines.append)
    assert [song.name for song in songs] == ["7.Beats/remix-00", "plain.wav"]
    for words in (("TORN", ""), ("CUT", "not as long"), ("8.X", "2 stems"), ("9.Y", "no steady tempo")):
        assert any(line.startswith("left out") and all(word in line for word in words) for line in lines)
    groups, _ = read_stems(sorted((tmp_path / "7.Beats").iterdir()), lines.append)
    assert sorted(groups) == ["others", "percussion", "percussion", "voices"], "the title names no group"


def test_stems_are_told_from_an_album_of_songs_and_names_give_their_group_and_their_work(tmp_path):
    files = [tmp_path / "album" / f"{number} System.wav" for number in range(5)]
    paths = [tmp_path / "song" / f"song_Stem_{number}.wav" for number in range(3)]
    assert remixes.stem_folders(tmp_path, files + paths) == {tmp_path / "song": paths}
    names = ["BGVOX_ECHO", "Lead Vocal", "ALT_HH", "K_and_SN", "fast hats", "BEEPS", "SHH_PAD"]
    assert [group_of(name) for name in names] == ["voices"] * 2 + ["percussion"] * 3 + ["others"] * 2
    versions = ["1.Hydrogen", "stems/1.Hydrogen/remix-03", "mixes/1_Hydrogen_mix_132bpm.ogg", "1 Hydrogen (Master).wav"]
    assert {work_of(name) for name in versions} == {"1 hydrogen"}
    assert len({work_of(name) for name in ("1.Hydrogen", "2.Hydrogen", "1.Hydrogen Reprise", "Stemless.mp3")}) == 4


@pytest.mark.parametrize("semitones", [-3, 0.32, 2])
def test_a_transposed_tone_has_the_right_pitch_and_length(semitones):
    tone = librosa.tone(440, sr=SAMPLE_RATE_HZ, duration=2.0)
    moved = remixes.transpose(0.3 * tone.astype(np.float32), semitones)
    assert len(moved) == len(tone)
    hz = np.median(librosa.yin(moved[4000:-4000], fmin=300, fmax=600, sr=SAMPLE_RATE_HZ))
    assert abs(12 * np.log2(hz / 440) - semitones) < 0.05
