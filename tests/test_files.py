"""Whatever a person has becomes mono at 16 kHz, or one sentence that says what to do."""

import io

import numpy as np
import pytest
import soundfile

from kpop.audio.io import read_audio, wav_bytes, write_wav
from kpop.constants import SAMPLE_RATE_HZ
from kpop.errors import KpopError


def _stereo(rate_hz: int = 44_100, duration_s: float = 2.0) -> np.ndarray:
    """440 Hz left and 1000 Hz right, (n, 2)."""
    t = np.arange(int(rate_hz * duration_s)) / rate_hz
    return 0.5 * np.sin(2 * np.pi * t[:, None] * np.array([440.0, 1000.0]))


def _loudest_hz(waveform: np.ndarray, n: int) -> list[int]:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(waveform.size), SAMPLE_RATE_HZ))
    peaks = np.flatnonzero((spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] >= spectrum[2:])) + 1
    return sorted(int(hz) for hz in peaks[np.argsort(-spectrum[peaks])[:n]])


def _assert_one_sentence(error: KpopError) -> None:
    message = str(error)
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_stereo_at_44100_becomes_mono_at_16000_at_the_right_pitch(tmp_path, kind):
    path = tmp_path / f"song.{kind}"
    soundfile.write(path, _stereo(), 44_100)
    waveform = read_audio(path)
    assert (waveform.dtype, waveform.ndim) == (np.float32, 1)
    assert waveform.size == pytest.approx(2 * SAMPLE_RATE_HZ, abs=2000 if kind == "mp3" else 1)
    assert _loudest_hz(waveform[4000:20_000], 2) == [440, 1000]
    assert np.std(waveform[4000:20_000]) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000, 96_000])
def test_any_rate_keeps_duration_and_pitch(rate_hz):
    buffer = io.BytesIO()
    soundfile.write(buffer, _stereo(rate_hz), rate_hz, format="WAV")
    buffer.seek(0)
    waveform = read_audio(buffer)
    assert abs(waveform.size - 2 * SAMPLE_RATE_HZ) <= 1
    assert _loudest_hz(waveform[4000:20_000], 2) == [440, 1000]


def test_only_the_seconds_asked_for_are_read(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, _stereo(duration_s=20), 44_100)
    waveform, whole = read_audio(str(path), max_s=1.5), read_audio(path)
    assert abs(waveform.size - 24_000) <= 1
    np.testing.assert_allclose(waveform[:20_000], whole[:20_000], atol=1e-4)


def test_frequencies_above_8_khz_do_not_fold_back():
    t = np.arange(48_000) / 48_000
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.5 * np.sin(2 * np.pi * 11_000 * t), 48_000, format="WAV")
    buffer.seek(0)
    assert np.std(read_audio(buffer)[1000:-1000]) < 1e-3


def test_silence_is_allowed():
    assert not read_audio(io.BytesIO(wav_bytes(np.zeros(500)))).any()


def test_float_to_wav_to_float_loses_half_a_step_of_16_bits():
    waveform = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    waveform[:2] = 1.0, -1.0
    back = read_audio(io.BytesIO(wav_bytes(waveform)))
    np.testing.assert_allclose(back[1:], waveform[1:], atol=0.51 / 32_768)
    assert back[0] == pytest.approx(1.0, abs=1.01 / 32_768)


def test_written_file_is_16_bit_mono_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(b"an older song")
    write_wav(path, np.linspace(-1, 1, 100))
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (SAMPLE_RATE_HZ, 1, "PCM_16", 100)
    assert [p.name for p in tmp_path.iterdir()] == ["song.wav"]


@pytest.mark.parametrize("bad", [1.01, -1.5, np.nan, np.inf])
def test_samples_that_16_bits_cannot_hold_are_refused(bad):
    with pytest.raises(ValueError, match=r"-1\.\.1"):
        wav_bytes(np.array([0.0, bad]))


def test_writing_into_a_folder_that_does_not_exist_is_one_sentence(tmp_path):
    with pytest.raises(KpopError) as caught:
        write_wav(tmp_path / "nowhere" / "song.wav", np.zeros(10))
    _assert_one_sentence(caught.value)


@pytest.mark.parametrize("content", [b"", b"la la la\n" * 50, b"RIFF\x00\x00", wav_bytes(np.zeros(0))])
@pytest.mark.parametrize("name", ["song.wav", "song.mp3", "song.raw", "song"])
def test_files_without_sound_are_one_sentence(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(KpopError) as caught:
        read_audio(path)
    _assert_one_sentence(caught.value)


def test_missing_file_and_folder_are_one_sentence(tmp_path):
    for path in (tmp_path / "none.wav", tmp_path):
        with pytest.raises(KpopError, match="no sound file at") as caught:
            read_audio(path)
        _assert_one_sentence(caught.value)


def test_broken_upload_is_one_sentence():
    with pytest.raises(KpopError) as caught:
        read_audio(io.BytesIO(b"not music"))
    _assert_one_sentence(caught.value)


def test_samples_that_are_not_numbers_are_refused(tmp_path):
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.array([0.0, np.nan, 0.5] * 1000), SAMPLE_RATE_HZ, subtype="FLOAT")
    with pytest.raises(KpopError, match="not numbers"):
        read_audio(path)
