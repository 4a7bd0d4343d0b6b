"""Any sound file becomes mono at 16 kHz, or one sentence that says what to do; what is written is 16-bit WAV."""

import io

import numpy as np
import pytest
import soundfile

from kpop.audio.io import from_pcm, pcm_bytes, read_audio, wav_bytes, wav_header, write_wav
from kpop.constants import SAMPLE_RATE_HZ
from kpop.errors import KpopError


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
