"""Remixes of stems: on the grid, varied, repeatable, and never on both sides of the split."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from kpop.audio.beat import Beat, named_tempo, onsets, residuals_ms, steady_beat
from kpop.constants import BAR_SAMPLES, SAMPLE_RATE_HZ
from kpop.errors import KpopError
from kpop.training.data import Song, no_labels
from kpop.training.remixes import (
    Remix,
    Stem,
    Work,
    draw_remix,
    group_of,
    read_stems,
    render,
    split_by_work,
    stem_folders,
    transpose,
    work_of,
)
from kpop.training.remixes import remixed_songs as versions

BPM, N_BARS, LATE_S = 132, 48, 0.7
BEAT_SAMPLES = SAMPLE_RATE_HZ * 15 / 125 * 4


def strokes(moments_s: np.ndarray, hz: float, seconds: float) -> np.ndarray:
    """Decaying tones that begin sharply at the moments."""
    sound = np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32)
    time_s = np.arange(int(0.06 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    stroke = 0.4 * np.cos(2 * np.pi * hz * time_s) * np.exp(-time_s * 60)
    for start in np.round(moments_s * SAMPLE_RATE_HZ).astype(int):
        part = sound[start : start + len(stroke)]
        part += stroke[: len(part)]
    return sound


def parts(bpm: float = BPM, n_bars: int = N_BARS, late_s: float = LATE_S) -> dict[str, np.ndarray]:
    """Stems of a song that begins `late_s` into its recording: kicks on one and three, hats, chords and a voice."""
    seconds, beat_s = late_s + n_bars * 240 / bpm + 1, 60 / bpm
    beats = late_s + np.arange(n_bars * 4) * beat_s
    moment_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    bar = ((moment_s - late_s) / (4 * beat_s)).astype(int)
    inside = (moment_s >= late_s) & (bar < n_bars)
    chord = np.sin(2 * np.pi * np.cumsum(np.array([220.0, 174.6, 261.6, 196.0])[bar % 4]) / SAMPLE_RATE_HZ)
    voice = np.sin(2 * np.pi * 440 * moment_s)
    return {
        "KICK": strokes(beats[::2], 70, seconds),
        "HH": strokes(np.sort(np.concatenate([beats, beats + beat_s / 2])), 6000, seconds),
        "PAD": (0.1 * chord * inside).astype(np.float32),
        "VOX": (0.1 * voice * (inside & (bar >= 8))).astype(np.float32),
    }


def save(folder: Path, sounds: dict[str, np.ndarray], title: str) -> list[Path]:
    folder.mkdir(parents=True)
    for name, sound in sounds.items():
        soundfile.write(folder / f"{title}_Stem_{name}.wav", sound, SAMPLE_RATE_HZ)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    """A folder with a song as stems and as a mix, and a plain song."""
    folder = tmp_path_factory.mktemp("album")
    sounds = parts()
    save(folder / "stems" / "1.Neon", sounds, "1.Neon")
    (folder / "mixes").mkdir()
    soundfile.write(folder / "mixes" / f"1_Neon_mix_{BPM}bpm.wav", sum(sounds.values()), SAMPLE_RATE_HZ)
    soundfile.write(folder / "mixes" / "2_Plain.wav", sum(parts(125, 10).values()), SAMPLE_RATE_HZ)
    return folder


@pytest.fixture(scope="module")
def songs(album, tmp_path_factory) -> list[Song]:
    return versions(album, 4, tmp_path_factory.mktemp("cache"), lambda line: None)


@pytest.fixture(scope="module")
def neon() -> list[Stem]:
    sounds = parts()
    return [Stem(name, group_of(name), np.round(sound * 32767).astype(np.int16)) for name, sound in sounds.items()]


NEON_BEAT = Beat(BPM, LATE_S - 4 * 240 / BPM, 1.0)


def remix_of(n_bars: int = 8, first_bar: int = 4, **plays) -> Remix:
    everything = np.array([plays.get(name, np.ones(n_bars, bool)) for name in ("KICK", "HH", "PAD", "VOX")])
    return Remix(first_bar, n_bars, 0, np.zeros(4), everything)


def late_ms(waveform: np.ndarray) -> np.ndarray:
    """Where strokes begin against the eighths of our grid."""
    late_s = onsets(waveform)[0] % 0.24
    return 1000 * np.where(late_s > 0.12, late_s - 0.24, late_s)


def test_a_song_at_132_bpm_lands_on_the_grid_at_its_beginning_and_end(neon):
    played = render(remix_of(N_BARS, PAD=np.zeros(N_BARS, bool), VOX=np.zeros(N_BARS, bool)), neon, NEON_BEAT)
    assert len(played) == N_BARS * BAR_SAMPLES
    for end in (played[: 4 * BAR_SAMPLES], played[-4 * BAR_SAMPLES :]):
        late = late_ms(end)
        assert len(late) > 25
        assert np.abs(np.median(late)) < 2
        assert np.percentile(np.abs(late), 90) < 4


def test_every_version_begins_on_four_bars_and_hears_the_metronome_run(songs):
    for song in songs:
        if work_of(song.name) == "1 neon":
            assert song.n_steps * 480 == len(song.waveform)
            assert len(song.waveform) % (4 * BAR_SAMPLES) == 0
            np.testing.assert_array_equal(song.slots, np.arange(song.n_steps) % 256)
            assert song.labels.shape == no_labels(song.n_steps).shape


def test_the_mix_of_a_song_with_stems_follows_the_same_grid(songs):
    mix = next(song for song in songs if song.name.startswith("mixes/1_Neon"))
    assert np.abs(np.median(late_ms(mix.waveform / np.float32(32767)))) < 2


@pytest.mark.parametrize(("bpm", "late_s"), [(132, 0.7), (118.37, 2.31), (264, 0.2), (90, 1.1)])
def test_tempo_phase_and_bar_line_are_found(bpm, late_s):
    sounds = parts(bpm, 60, late_s)
    percussion, mix = sounds["KICK"] + sounds["HH"], sum(sounds.values())
    entries_s = np.array([late_s, late_s, late_s])
    beat = steady_beat(percussion, mix, entries_s, round(bpm))
    counted = 132 if bpm == 264 else bpm
    assert abs(beat.bpm / counted - 1) * 300 < 0.005  # drift over five minutes, in seconds
    phrase_s = 4 * beat.bar_s
    assert abs((late_s - beat.downbeat_s + phrase_s / 2) % phrase_s - phrase_s / 2) < 0.003
    assert beat.downbeat_s <= 0
    assert max(map(abs, residuals_ms(percussion, beat))) < 2


def test_songs_far_from_our_tempo_keep_their_own():
    assert Beat(90, 0, 1).speed == 1
    assert Beat(132, 0, 1).speed == 125 / 132


def test_noise_has_no_steady_beat():
    rng = np.random.default_rng(0)
    clicks = strokes(np.sort(rng.uniform(0, 59, 300)), 2000, 60.0)
    assert steady_beat(clicks, clicks, np.zeros(0), 120.0).clarity == 0


def test_a_part_falls_silent_and_returns_on_bar_lines(neon):
    rests = np.array([True] * 2 + [False] * 4 + [True] * 2)
    only_pad = {name: np.zeros(8, bool) for name in ("KICK", "HH", "VOX")}
    played = render(remix_of(PAD=rests, **only_pad), neon, NEON_BEAT).reshape(8, -1)
    level = np.abs(played).max(1)
    assert (level[rests] > 0.05).all()
    assert (np.abs(played[~rests, 300:-300]) < 1e-3).all()
    assert np.abs(played[6, 200:1000]).max() > 0.08  # whole from the bar line on
    assert np.abs(played[1, -BAR_SAMPLES // 4 : -400]).max() > 0.08


def test_rests_come_in_whole_sections_and_leave_something_to_hear():
    groups = np.array(["percussion", "others", "others", "voices"])
    changes, rested = 0, 0
    for seed in range(40):
        remix = draw_remix(np.ones((4, 80), bool), groups, (0, 80), 0.5, np.random.default_rng(seed))
        assert 32 <= remix.n_bars <= 60
        assert remix.first_bar % 4 == remix.n_bars % 4 == 0
        by_phrase = remix.plays.reshape(4, -1, 4)
        assert (by_phrase.all(2) | ~by_phrase.any(2)).all()
        assert remix.plays.any(0).all()
        assert np.abs(remix.gains_db).max() <= 4
        changes += np.count_nonzero(np.diff(remix.plays, axis=1))
        rested += np.count_nonzero(~remix.plays)
    assert changes > 40
    assert rested > 0


def test_the_same_number_is_the_same_remix_and_another_is_another(album, songs, tmp_path):
    again = versions(album, 4, tmp_path, lambda line: None)
    for song, same in zip(songs, again, strict=True):
        assert song.name == same.name
        np.testing.assert_array_equal(song.waveform, same.waveform)
    remixes = [song.waveform for song in songs if "/remix-" in song.name]
    assert len({waveform.tobytes() for waveform in remixes}) == len(remixes) == 4


def test_made_remixes_are_taken_from_the_cache(album, tmp_path, monkeypatch):
    first = versions(album, 1, tmp_path, lambda line: None)
    monkeypatch.setattr(Work, "remix", None)
    monkeypatch.setattr(Work, "on_grid", None)
    assert [song.name for song in versions(album, 1, tmp_path, lambda line: None)] == [song.name for song in first]


def test_all_versions_of_a_work_are_on_one_side(songs):
    for held_out in ("1.Neon", "1_Neon_mix_132bpm.wav", None):
        train, held = split_by_work(songs, held_out)
        assert len(train) + len(held) == len(songs)
        assert not {work_of(song.name) for song in train} & {work_of(song.name) for song in held}
        assert len({work_of(song.name) for song in held}) == 1
    assert len(split_by_work(songs, "1.Neon")[1]) == 5
    with pytest.raises(KpopError, match="1 neon, 2 plain"):
        split_by_work(songs, "3.Absent")


def test_one_work_alone_cannot_be_split(songs):
    with pytest.raises(KpopError, match="at least two"):
        split_by_work([song for song in songs if work_of(song.name) == "1 neon"])


@pytest.mark.parametrize(
    "name", ["1.Hydrogen", "stems/1.Hydrogen/remix-03", "mixes/1_Hydrogen_mix_132bpm.ogg", "1 Hydrogen (Master).wav"]
)
def test_names_of_versions_tell_their_work(name):
    assert work_of(name) == "1 hydrogen"


def test_other_titles_are_other_works():
    assert len({work_of(name) for name in ("1.Hydrogen", "2.Hydrogen", "1.Hydrogen Reprise", "Stemless.mp3")}) == 4


def test_a_damaged_or_short_stem_is_named_and_left_out(tmp_path):
    sounds = parts(n_bars=8)
    paths = save(tmp_path / "x", sounds | {"TORN": sounds["PAD"], "CUT": sounds["PAD"][:20_000]}, "9.X")
    torn = next(path for path in paths if "TORN" in path.name)
    torn.write_bytes(torn.read_bytes()[:20])
    lines = []
    stems = read_stems(paths, lines.append)
    assert {stem.name for stem in stems} == {f"9.X_Stem_{name}.wav" for name in sounds}
    assert ["TORN" in line or "CUT" in line for line in lines] == [True, True]


def test_too_few_stems_are_one_clear_line_and_the_rest_goes_on(tmp_path):
    paths = save(tmp_path / "album" / "9.X", {name: np.zeros(4000) for name in "ABC"}, "9.X")
    paths[0].write_bytes(b"nothing")
    soundfile.write(tmp_path / "album" / "plain.wav", sum(parts(125, 10).values()), SAMPLE_RATE_HZ)
    lines = []
    made = versions(tmp_path / "album", 2, tmp_path / "cache", lines.append)
    assert [song.name for song in made] == ["plain.wav"]
    assert any("9.X" in line and "2 stems" in line for line in lines)


def test_an_album_of_songs_is_not_taken_for_stems(tmp_path):
    files = [tmp_path / "album" / f"{number} System.wav" for number in range(5)]
    assert stem_folders(tmp_path, files) == {}
    stems = [tmp_path / "song" / f"song_Stem_{number}.wav" for number in range(3)]
    assert stem_folders(tmp_path, files + stems) == {tmp_path / "song": stems}


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("BGVOX_ECHO", "voices"),
        ("Lead Vocal", "voices"),
        ("ALT_HH", "percussion"),
        ("K_and_SN", "percussion"),
        ("fast hats", "percussion"),
        ("BEEPS", "others"),
        ("SHH_PAD", "others"),
    ],
)
def test_names_tell_what_plays(name, group):
    assert group_of(name) == group


def test_tempo_is_read_from_a_name():
    assert named_tempo(["a.ogg", "1_Hydrogen_mix_132bpm.ogg"]) == 132
    assert named_tempo(["a.ogg"]) is None


@pytest.mark.parametrize("semitones", [-3, 0.32, 2])
def test_a_transposed_tone_has_the_right_pitch_and_length(semitones):
    time_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = (0.3 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    moved = transpose(tone, semitones)
    assert len(moved) == len(tone)
    spectrum = np.abs(np.fft.rfft(moved[4000:-4000] * np.hanning(len(moved) - 8000), 1 << 18))
    heard_hz = spectrum.argmax() * SAMPLE_RATE_HZ / (1 << 18)
    assert abs(12 * np.log2(heard_hz / 440) - semitones) < 0.05
