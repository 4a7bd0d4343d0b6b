"""A folder of recordings: bad ones are named, good ones lie on their own grid, at any tempo and when it drifts."""

import shutil

import numpy as np
import pytest
import soundfile
from rhythms import clicks, rustle

from kpop.audio.beat import BeatTrack
from kpop.constants import FRAMES_PER_STEP, SAMPLE_RATE_HZ, STEPS_PER_BAR, STEPS_PER_BEAT
from kpop.training import recordings
from kpop.training.data import excerpt, log_magnitude, to_int16, transposed
from kpop.training.recordings import Recording, in_octave, on_grid, usual_tempo

RATES_BPM = 97 + 4 * np.sin(np.arange(120) / 15)


def recording(beats_s: np.ndarray, tempo_bpm: float, is_steady: bool, waveform: np.ndarray) -> Recording:
    return Recording("song", "key", to_int16(waveform, 1), BeatTrack(beats_s, tempo_bpm, is_steady))


def test_bad_songs_are_named_and_skipped(tmp_path, beat):
    sounds = dict.fromkeys(("one.flac", "two.ogg", "three.mp3"), beat)
    for name, sound in (sounds | {"short.wav": beat[:16_000], "silent.wav": 0 * beat}).items():
        soundfile.write(tmp_path / name, sound, 16_000)
    (tmp_path / "broken.mp3").write_bytes(b"this is no music at all" * 100)
    (tmp_path / "notes.txt").write_text("not a song")
    shutil.copy(tmp_path / "one.flac", tmp_path / "zz copy.flac")
    lines = []
    usable = recordings.folder_songs(tmp_path, tmp_path / "cache", 1, lines.append)
    assert {song.name for song in usable} == set(sounds)
    left_out = {line.split(":")[0].removeprefix("left out ") for line in lines if line.startswith("left out")}
    assert left_out == {"short.wav", "silent.wav", "broken.mp3", "zz copy.flac"}


def test_a_song_is_prepared_once_and_again_if_the_cache_is_damaged(tmp_path, songs_folder):
    first = recordings.folder_songs(songs_folder, tmp_path, 1, lambda line: None)
    made = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.np?")}
    recordings.folder_songs(songs_folder, tmp_path, 1, lambda line: None)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.np?")} == made
    sounds = [song.waveform.tobytes() for song in first]
    for file in made:
        file.write_bytes(file.read_bytes()[:1000])
    again = recordings.folder_songs(songs_folder, tmp_path, 1, lambda line: None)
    assert [song.waveform.tobytes() for song in again] == sounds


def test_songs_of_any_tempo_and_of_a_drifting_one_have_their_beats_on_steps(tmp_path):
    times_s = {"steady.wav": 0.4 + np.arange(100) * 60 / 141.3, "live.wav": 0.4 + np.cumsum(60 / RATES_BPM)}
    for name, beats_s in times_s.items():
        accents = clicks(beats_s, 900, beats_s[-1] + 0.3) + 0.8 * clicks(beats_s[::4], 70, beats_s[-1] + 0.3)
        soundfile.write(tmp_path / name, accents, SAMPLE_RATE_HZ)
    soundfile.write(tmp_path / "talk.wav", np.tile(rustle(np.random.default_rng(3)), 3), SAMPLE_RATE_HZ)
    lines = []
    songs = {song.name: song for song in recordings.folder_songs(tmp_path, tmp_path / "cache", 1, lines.append)}
    assert set(songs) == set(times_s)
    assert "left out talk.wav: no clear beat is heard in it." in lines
    assert any("141.3 BPM)" in line for line in lines)
    assert any("BPM, drifting)" in line for line in lines)
    for name, beats_s in times_s.items():
        begins_s = songs[name].centres[::FRAMES_PER_STEP] / SAMPLE_RATE_HZ
        steps = np.interp(beats_s, begins_s, np.arange(len(begins_s)))
        off = (steps[4:-4] + STEPS_PER_BEAT / 2) % STEPS_PER_BEAT - STEPS_PER_BEAT / 2
        assert np.abs(off).max() < 1.5, name
        assert songs[name].metre_positions[0] % STEPS_PER_BAR == 0


def test_a_songs_octave_is_that_of_most_songs_unless_it_would_be_too_fast_or_too_slow():
    assert usual_tempo([120, 130, 65, 250]) == pytest.approx(125, rel=0.03)
    for heard_bpm, usual_bpm, found_bpm in ((176, 90, 88), (90, 170, 180), (100, 100, 100), (110, 230, 110)):
        beats_s = np.arange(40) * 60 / heard_bpm
        found = in_octave(recording(beats_s, heard_bpm, True, np.zeros(1)), usual_bpm)
        assert found.beats.tempo_bpm == found_bpm
        assert np.diff(found.beats.beats_s) == pytest.approx(60 / found_bpm)


def test_a_transposed_song_sounds_higher_and_has_the_same_beats():
    beats_s = np.arange(40) * 0.5
    waveform = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(20 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ).astype(np.float32)
    waveform += clicks(beats_s, 4000, 20.0)[: len(waveform)]
    song = on_grid(recording(beats_s, 120, True, waveform))
    higher = transposed(song, 12)
    assert higher.n_steps == song.n_steps
    assert len(higher.waveform) == pytest.approx(len(song.waveform) / 2, abs=2)
    frames = [log_magnitude(excerpt_of(each)).numpy()[0] for each in (song, higher)]
    assert [each.mean(0)[20:200].argmax() + 20 for each in frames] == pytest.approx([60, 120], abs=1)  # of 16.7 Hz
    treble = [each[:, 230:250].mean(1) for each in frames[:1]] + [each[:, 470:].mean(1) for each in frames[1:]]
    assert np.corrcoef(treble[0] > np.quantile(treble[0], 0.9), treble[1] > np.quantile(treble[1], 0.9))[0, 1] > 0.7


def excerpt_of(song):
    import torch

    return torch.from_numpy(excerpt(song, 32, 256)).unsqueeze(0)


def test_a_recording_is_cut_into_pieces_for_the_codec_without_a_seam(tiny_model, monkeypatch):
    from kpop.checkpoint import load_codec
    from kpop.training import data

    rng = np.random.default_rng(0)
    song = on_grid(recording(np.arange(30) * 0.5, 120, True, rng.normal(0, 0.1, 14 * SAMPLE_RATE_HZ)))
    codec, _ = load_codec(tiny_model)
    whole = data.encode_song(song, codec).tokens
    monkeypatch.setattr(data, "PIECE_STEPS", 100)
    assert (data.encode_song(song, codec).tokens == whole).mean() > 0.999
