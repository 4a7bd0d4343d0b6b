"""Sound made in pieces is as good as sound made in one, has no clicks where pieces meet, and needs little memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter1d
from test_phase import band

from kpop.audio.measures import spectral_convergence_db
from kpop.audio.phase import StreamingPhase, picture_db, reconstruct
from kpop.audio.stft import log_mel_db, stft, stft_at
from kpop.codec.model import Codec, CodecConfig
from kpop.codec.streaming import StreamingDecoder
from kpop.constants import FRAMES_PER_STEP, HOP_LENGTH, N_BINS, SAMPLE_RATE_HZ, STEP_SAMPLES
from kpop.generation.pipeline import SongSound, decode, sound

N_ITERATIONS = 8


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def in_pieces(magnitude: np.ndarray, n_frames: int, seed: int = 0, hop: int = HOP_LENGTH) -> list[np.ndarray]:
    stream, starts = StreamingPhase(seed, N_ITERATIONS, hop), range(0, len(magnitude), n_frames)
    return [stream.push(magnitude[i : i + n_frames], last=i + n_frames >= len(magnitude)) for i in starts]


def streamed(magnitude: np.ndarray, n_frames: int, seed: int = 0) -> np.ndarray:
    return np.concatenate(in_pieces(magnitude, n_frames, seed))[: (len(magnitude) - 1) * HOP_LENGTH]


@pytest.fixture(scope="module")
def magnitude() -> np.ndarray:
    return np.abs(stft(np.tile(band(), 2)))


@pytest.mark.parametrize("n_frames", [32, 33, 128, 10_000])
def test_pieces_are_nearly_as_near_to_the_magnitudes_as_the_whole(magnitude, n_frames):
    whole = reconstruct(magnitude, (len(magnitude) - 1) * HOP_LENGTH, 0, N_ITERATIONS)
    error_db = spectral_convergence_db(magnitude, streamed(magnitude, n_frames))
    assert error_db < spectral_convergence_db(magnitude, whole) + 1.0


@pytest.mark.parametrize("hop", [170, HOP_LENGTH, 339])
@pytest.mark.parametrize("n_frames", [1, 2, 7, 32, 1000])
@pytest.mark.parametrize("n_in_all", [1, 2, 8, 57])
def test_every_frame_gives_one_hop_of_samples_however_it_arrives(magnitude, n_frames, n_in_all, hop):
    assert sum(map(len, in_pieces(magnitude[:n_in_all], n_frames, hop=hop))) == n_in_all * hop


@pytest.mark.parametrize(("hop", "error_db"), [(170, -24), (200, -23), (HOP_LENGTH, -26), (300, -21), (339, -18)])
def test_frames_at_other_distances_become_the_sound_that_they_are_of(hop, error_db):
    sound = np.tile(band(), 2)
    magnitude = np.abs(stft_at(sound, np.arange(0, len(sound), hop)))
    rebuilt = np.concatenate(in_pieces(magnitude, 128, hop=hop))[: len(sound)]
    assert spectral_convergence_db(np.abs(stft(sound)), rebuilt) < error_db


def test_a_piece_waits_for_no_more_than_the_look_ahead(magnitude):
    first = StreamingPhase(0, N_ITERATIONS).push(magnitude[:32])
    assert len(first) == (32 - StreamingPhase.LOOK_AHEAD_FRAMES - 2) * HOP_LENGTH


def test_no_click_where_pieces_meet(magnitude):
    pieces = in_pieces(magnitude, 32)
    joins = np.cumsum([len(piece) for piece in pieces])[:-1]
    whole = reconstruct(magnitude, (len(magnitude) - 1) * HOP_LENGTH, 0, N_ITERATIONS)
    there, in_whole = (roughness(sound)[joins] for sound in (np.concatenate(pieces), whole))
    assert np.median(there) < 1.15 * np.median(in_whole)
    assert there.max() < 1.3 * in_whole.max()


def roughness(sound: np.ndarray) -> np.ndarray:
    """Largest second difference (n_samples,) within four samples of each: a click is rough."""
    return maximum_filter1d(np.abs(np.diff(sound, 2, prepend=0, append=0)), 9)


def test_a_sweep_stays_smooth_over_all_joins():
    t = np.arange(4 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    sweep = (0.5 * np.sin(2 * np.pi * (200 * t + 100 * t**2))).astype(np.float32)
    rebuilt = streamed(np.abs(stft(sweep)), 32)
    inside = slice(2000, -2000)  # a sound that begins with a jump has none to be smooth at
    assert np.abs(np.diff(rebuilt, 2))[inside].max() < 1.3 * np.abs(np.diff(sweep, 2)).max()


def test_the_same_pieces_give_the_same_bytes_and_another_seed_does_not(magnitude):
    first, again, other = (streamed(magnitude[:200], 32, seed).tobytes() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_what_is_given_out_depends_on_nothing_that_comes_later(magnitude):
    silenced = magnitude.copy()
    silenced[96:] = 0
    for kept, other in zip(in_pieces(magnitude, 32)[:3], in_pieces(silenced, 32)[:3], strict=True):
        assert kept.tobytes() == other.tobytes()


def test_a_quiet_ending_keeps_its_tones_after_a_loud_beginning():
    t = np.arange(12 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = np.sin(2 * np.pi * 440 * t) * np.where(t < 1, 1.0, 1e-4)
    quiet = np.abs(stft(tone.astype(np.float32)))[600:]
    rebuilt = streamed(np.abs(stft(tone.astype(np.float32))), 64)[600 * HOP_LENGTH :]
    assert spectral_convergence_db(quiet, rebuilt) < -15


def test_memory_does_not_grow_with_the_song(magnitude):
    def peak_bytes(n_pieces: int) -> int:
        stream = StreamingPhase(0, 1)
        tracemalloc.start()
        for _ in range(n_pieces):
            stream.push(magnitude[:64])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(2)
    assert peak_bytes(60) < 1.1 * peak_bytes(6)


def test_silence_stays_silent():
    assert not streamed(np.zeros((100, N_BINS), np.float32), 32).any()


def test_magnitudes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="finite and not negative"):
        StreamingPhase(0, 1).push(np.full((4, N_BINS), np.nan, np.float32))


@pytest.mark.parametrize("n_samples", [0, 100, 240 * 512, 240 * 1024 + 17, 300_000])
def test_a_picture_in_blocks_is_the_picture_of_the_whole(n_samples):
    sound = np.random.default_rng(1).standard_normal(n_samples).astype(np.float32) * 0.1
    assert np.allclose(picture_db(sound, 128), log_mel_db(np.abs(stft(sound)), 128), atol=1e-3)


@pytest.fixture(scope="module")
def codec() -> Codec:
    """As deep as the real one, but narrow, and it has learnt nothing."""
    torch.manual_seed(0)
    codec = Codec(CodecConfig((0, 40, N_BINS), ((32, 32), (32,)), encoder_width=16, decoder_width=32)).eval()
    for quantiser in codec.quantizers:
        for codebook in quantiser.codebooks:
            codebook.vectors.normal_()
    codec.bin_mean.fill_(-6)
    return codec


def some_codes(n_steps: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 32, (n_steps, 3))


class Untouched:
    """A seed of which nothing is kept, that remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def keep_clip(self, first_frame: int, decoded: np.ndarray) -> np.ndarray:
        self.asked.append((first_frame, len(decoded)))
        return decoded


def sounded(codec: Codec, seed, n_samples: int | None, n_steps: int, n_pushed: int) -> np.ndarray:
    song, codes = SongSound(codec, seed, n_samples, 7), some_codes(n_steps)
    starts = range(0, n_steps, n_pushed)
    return np.concatenate([song.push(codes[i : i + n_pushed], last=i + n_pushed >= n_steps) for i in starts])


@pytest.mark.parametrize("n_pushed", [1, 5, 16, 64, 200])
def test_chunks_decode_to_what_all_codes_decode_to(codec, n_pushed):
    codes, decoder = some_codes(131), StreamingDecoder(codec)
    parts = [torch.from_numpy(codes[i : i + n_pushed]) for i in range(0, 131, n_pushed)]
    chunks = [decoder.push(part, last=i == len(parts) - 1).numpy() for i, part in enumerate(parts)]
    np.testing.assert_allclose(np.concatenate(chunks), decode(codec, codes), atol=1e-4)


def test_a_decoder_holds_back_only_what_later_codes_can_change(codec):
    codes, other = some_codes(60), some_codes(60)
    other[40:] = (other[40:] + 1) % 32
    n_settled = len(StreamingDecoder(codec).push(torch.from_numpy(codes[:40])))
    first, second = decode(codec, codes), decode(codec, other)
    np.testing.assert_allclose(first[:n_settled], second[:n_settled], atol=3e-6)
    assert np.abs(first - second)[n_settled : n_settled + 4 * FRAMES_PER_STEP].max() > 2e-5


@pytest.mark.parametrize("n_samples", [STEP_SAMPLES * 50, STEP_SAMPLES * 49 + 1, STEP_SAMPLES * 49 + 240, None])
@pytest.mark.parametrize("n_pushed", [3, 16, 64])
def test_a_song_has_exactly_its_length(codec, n_samples, n_pushed):
    assert len(sounded(codec, Untouched(), n_samples, 50, n_pushed)) == (n_samples or 50 * STEP_SAMPLES)


@pytest.mark.parametrize("n_samples", [STEP_SAMPLES * 200, STEP_SAMPLES * 199 + 100])
def test_a_song_in_chunks_sounds_as_near_to_its_codes_as_a_whole_one(codec, n_samples):
    log_magnitudes = decode(codec, some_codes(200))
    whole = sound(log_magnitudes, n_samples, 7)
    magnitude = np.abs(stft(whole))
    assert len(whole) == n_samples
    in_chunks = np.abs(stft(sounded(codec, Untouched(), n_samples, 200, 16)))
    assert abs(np.log(in_chunks.mean() / magnitude.mean())) < 0.02


def test_the_seed_is_asked_for_every_frame_once_and_heard(codec):
    class Silent(Untouched):
        def keep_clip(self, first_frame, decoded):
            decoded[: max(60 - first_frame, 0)] = -20
            return super().keep_clip(first_frame, decoded)

    seed = Silent()
    waveform = sounded(codec, seed, None, 60, 16)
    assert [first for first, _ in seed.asked] == [0, *np.cumsum([n for _, n in seed.asked])[:-1]]
    assert sum(n for _, n in seed.asked) == 60 * FRAMES_PER_STEP
    assert not waveform[: 58 * HOP_LENGTH].any()
    assert waveform[62 * HOP_LENGTH :].any()
