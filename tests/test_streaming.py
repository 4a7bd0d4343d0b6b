"""Every part that works piece by piece gives the same however its input is cut, without clicks, in constant memory;
and the phase fits the magnitudes, nearer than librosa's Griffin-Lim and without made-up impulses."""

import tracemalloc
from itertools import pairwise
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, maximum_filter1d
from test_lstm import CONFIG, SIZES, forced, model, sampled, song

from kpop.audio import phase
from kpop.audio.loudness import StreamingLimiter
from kpop.audio.phase import BLOCK_FRAMES, LOOK_AHEAD_FRAMES, StreamingPhase, reconstruct
from kpop.audio.stft import WINDOW, frame_count, stft, stft_at
from kpop.codec.model import Codec, CodecConfig
from kpop.codec.streaming import StreamingDecoder
from kpop.constants import (
    BAR_SAMPLES,
    FRAMES_PER_STEP,
    HOP_LENGTH,
    N_BINS,
    N_FFT,
    SAMPLE_RATE_HZ,
    SIXTEENTH_SAMPLES,
    STEP_SAMPLES,
)
from kpop.evaluation.fidelity import crest_factor_db, spectral_convergence_db
from kpop.generation.session import Renderer
from kpop.lstm.sampler import BatchState, Chunk, Sampler

N_ITERATIONS = 8


@pytest.fixture(scope="module")
def magnitude() -> np.ndarray:
    return np.abs(stft(np.tile(band(), 2)))


@pytest.fixture(scope="module")
def codec() -> Codec:
    """As deep as the real one, but narrow and untrained."""
    torch.manual_seed(0)
    codec = Codec(CodecConfig((0, 40, N_BINS), ((32, 32), (32,)), encoder_width=16, decoder_width=32)).eval()
    for quantizer in codec.quantizers:
        for codebook in quantizer.codebooks:
            codebook.vectors.normal_()
    codec.bin_mean.fill_(-6)
    return codec


def some_tokens(n_steps: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 32, (n_steps, 3)))


class SampledSong:
    """Uniforms in, tokens out: a song in the last slot of a batch, beside songs with forced and with sampled tokens."""

    def __init__(self, sampler: Sampler, n_others: int = 0) -> None:
        self.sampler, self.state, self.n_others = sampler, BatchState(CONFIG, n_others + 1), n_others

    def push(self, uniforms: np.ndarray, last: bool = False) -> np.ndarray:
        n = len(uniforms)
        others = [forced(i, song(n, i)) if i % 3 == 0 else sampled(i, n, i) for i in range(self.n_others)]
        own = Chunk(self.n_others, self.state.n_steps[-1] + np.arange(n), uniforms=uniforms)
        *theirs, tokens = self.sampler.run(self.state, [*others, own])
        for chunk, given in zip(others[::3], theirs[::3], strict=True):
            assert np.array_equal(given, chunk.forced_tokens), "forced tokens are given back, in the order of chunks"
        return tokens


def pushed(part, content, cuts=()) -> np.ndarray:
    """All that a streaming part gives for content that is cut at these indices."""
    pieces = [part.push(content[i:j], last=j == len(content)) for i, j in pairwise([0, *cuts, len(content)])]
    return np.concatenate([np.asarray(piece) for piece in pieces])


@pytest.mark.parametrize("cut", ["one by one", 1, 2, 3])
@pytest.mark.parametrize("name", ["sampler", "decoder", "phase", "phase at another hop", "limiter"])
def test_piece_by_piece_equals_the_whole(name, cut, codec, magnitude):
    make, content, tolerance = {
        "sampler": (lambda: SampledSong(Sampler(model())), np.random.default_rng(1).random((80, len(SIZES))), 0),
        "decoder": (lambda: StreamingDecoder(codec), some_tokens(80), 1e-4),  # other shapes round otherwise
        "phase": (lambda: StreamingPhase(7, N_ITERATIONS), magnitude[:200], 0),
        "phase at another hop": (lambda: StreamingPhase(7, N_ITERATIONS, hop=339), magnitude[:150], 0),
        "limiter": (lambda: StreamingLimiter(2.0), 3 * np.tile(band(), 2)[:50_000], 0),
    }[name]
    cuts = range(1, min(len(content), 200))
    if cut != "one by one":
        rng = np.random.default_rng(cut)
        cuts = np.unique(rng.integers(1, len(content), 8)[:, None] + [0, 1])  # some pieces of one element
    whole, pieces = pushed(make(), content), pushed(make(), content, cuts[: np.searchsorted(cuts, len(content))])
    assert pieces.shape == whole.shape
    assert np.abs(pieces - whole).max() <= tolerance


@pytest.mark.parametrize("n_others", [1, 2, 3, 4, 7, 12])
def test_a_song_never_depends_on_its_neighbours_or_on_the_song_before_it_in_its_slot(n_others):
    sampler, uniforms = Sampler(model()), np.random.default_rng(0).random((30, len(SIZES)))
    alone, crowd = SampledSong(sampler), SampledSong(sampler, n_others)
    crowd.push(uniforms[20:])
    others = crowd.state.hidden[:-1].copy()
    crowd.state.reset(n_others)
    assert np.array_equal(crowd.state.hidden[:-1], others)
    assert np.array_equal(pushed(crowd, uniforms, (1, 8, 8)), pushed(alone, uniforms))
    assert np.array_equal(crowd.state.cell[-1], alone.state.cell[0])


@pytest.mark.parametrize("hop", [170, HOP_LENGTH, 339])
@pytest.mark.parametrize("n_frames", [0, 1, 2, 8, BLOCK_FRAMES, BLOCK_FRAMES + LOOK_AHEAD_FRAMES, 200])
def test_every_frame_gives_one_hop_of_samples(magnitude, n_frames, hop):
    assert len(StreamingPhase(0, 1, hop).push(magnitude[:n_frames], last=True)) == n_frames * hop


@pytest.mark.parametrize(("hop", "error_db"), [(170, -24), (200, -23), (HOP_LENGTH, -26), (300, -21), (339, -18)])
def test_frames_at_other_distances_become_the_sound_that_they_are_of(hop, error_db):
    sound = np.tile(band(), 2)
    magnitude = np.abs(stft_at(sound, np.arange(0, len(sound), hop)))
    rebuilt = StreamingPhase(0, N_ITERATIONS, hop).push(magnitude, last=True)[: len(sound)]
    assert spectral_convergence_db(np.abs(stft(sound)), rebuilt) < error_db


@pytest.mark.parametrize("name", ["phase", "limiter"])
def test_memory_does_not_grow_with_the_song(name, magnitude):
    def peak_bytes(n_pieces: int) -> int:
        tracemalloc.start()
        for _ in range(n_pieces):
            part.push(piece)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    part, piece = {
        "phase": (StreamingPhase(0, 1), magnitude[:50]),
        "limiter": (StreamingLimiter(), np.tile(band(), 2)[: 2 * SAMPLE_RATE_HZ]),
    }[name]
    peak_bytes(20)
    assert peak_bytes(60) < 1.1 * peak_bytes(10)


def test_the_phase_waits_for_a_block_and_its_look_ahead_and_the_limiter_for_less_than_50_ms(magnitude):
    stream, limiter, n_frames = StreamingPhase(0, 1), StreamingLimiter(), BLOCK_FRAMES + LOOK_AHEAD_FRAMES
    assert not len(stream.push(magnitude[: n_frames - 1]))
    assert len(stream.push(magnitude[:1])) == (BLOCK_FRAMES - 2) * HOP_LENGTH
    assert len(limiter.push(band())) > len(band()) - 0.05 * SAMPLE_RATE_HZ


def test_no_click_where_blocks_meet(magnitude):
    rebuilt = reconstruct(magnitude, (len(magnitude) - 1) * HOP_LENGTH, 0, N_ITERATIONS)
    roughness = maximum_filter1d(np.abs(np.diff(rebuilt, 2, prepend=0, append=0)), 9)
    joins = np.arange(BLOCK_FRAMES, len(magnitude), BLOCK_FRAMES) * HOP_LENGTH - STEP_SAMPLES
    elsewhere = (joins[:, None] + np.arange(3, BLOCK_FRAMES - 3) * HOP_LENGTH).ravel()
    assert np.median(roughness[joins]) < 1.15 * np.median(roughness[elsewhere[elsewhere < len(rebuilt)]])


def test_a_quiet_ending_keeps_its_tones_after_a_loud_beginning():
    t = np.arange(12 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    magnitude = np.abs(stft((np.sin(2 * np.pi * 440 * t) * np.where(t < 1, 1.0, 1e-4)).astype(np.float32)))
    rebuilt = reconstruct(magnitude, len(t), 0, N_ITERATIONS)
    assert spectral_convergence_db(magnitude[600:], rebuilt[600 * HOP_LENGTH :]) < -15


@pytest.mark.parametrize("n_samples", [STEP_SAMPLES * 50, STEP_SAMPLES * 49 + 1, STEP_SAMPLES * 49 + 240, None])
@pytest.mark.parametrize("n_pushed", [3, 64])
def test_a_rendered_song_has_exactly_its_length_and_its_clip_is_restored_once(codec, n_samples, n_pushed):
    restored = []
    seed = SimpleNamespace(restore_clip=lambda first, decoded: restored.append((first, len(decoded))) or decoded)
    song = pushed(Renderer(codec, seed, n_samples, 7), some_tokens(50).numpy(), range(n_pushed, 50, n_pushed))
    assert len(song) == (n_samples or 50 * STEP_SAMPLES)
    assert [first for first, _ in restored] == [0, *np.cumsum([n for _, n in restored])[:-1]]
    assert sum(n for _, n in restored) == 50 * FRAMES_PER_STEP


def band() -> np.ndarray:
    """Two bars of bass, chords with harmonics, kick and hat."""
    t = np.arange(2 * BAR_SAMPLES) / SAMPLE_RATE_HZ
    notes_hz = [(55, 0.2), (261.6, 0.06), (329.6, 0.06), (392, 0.06)]
    sound = sum(g / k * np.sin(2 * np.pi * hz * k * t) for hz, g in notes_hz for k in range(1, 9))
    decay = np.arange(SIXTEENTH_SAMPLES) / SAMPLE_RATE_HZ
    kick = 0.5 * np.sin(2 * np.pi * 60 * decay + 8 * (1 - np.exp(-decay * 60))) * np.exp(-decay * 30)
    generator = np.random.default_rng(2)
    for i, start in enumerate(range(0, t.size, SIXTEENTH_SAMPLES)):
        hat = 0.1 * generator.standard_normal(decay.size) * np.exp(-decay * 80)
        sound[start : start + decay.size] += hat + (kick if i % 4 == 0 else 0)
    return sound.astype(np.float32)


def test_reconstruction_is_nearer_than_librosas_griffin_lim():
    sound = band()
    magnitude = np.abs(stft(sound))
    theirs = librosa.griffinlim(WINDOW.sum() / 2 * magnitude.T, n_fft=N_FFT, hop_length=HOP_LENGTH)
    ours = reconstruct(magnitude, sound.size)
    assert spectral_convergence_db(magnitude, ours) < min(-26, spectral_convergence_db(magnitude, theirs) - 3.5)
    assert abs(crest_factor_db(ours) - crest_factor_db(sound)) < 1.5


def test_heap_integration_alone_knows_where_a_drum_hit_falls():
    sound = np.zeros(8000, np.float32)
    sound[4100:4300] = np.sin(np.arange(200) * 0.3) * np.exp(-np.arange(200) / 40)
    tries = [reconstruct(np.abs(stft(sound)), sound.size, seed, n_iterations=0) for seed in range(9)]
    assert all(abs(int(np.abs(rebuilt).argmax()) - int(np.abs(sound).argmax())) < 40 for rebuilt in tries)
    assert np.median([np.sum(rebuilt[4000:4400] ** 2) / np.sum(rebuilt**2) for rebuilt in tries]) > 0.89


def test_more_iterations_come_closer():
    sound = band()
    magnitude = np.abs(stft(sound))
    errors_db = [spectral_convergence_db(magnitude, reconstruct(magnitude, sound.size, 0, n)) for n in (0, 4, 16)]
    assert errors_db == sorted(errors_db, reverse=True)
    assert errors_db[0] < -12


def test_smooth_noise_bursts_do_not_become_impulses(monkeypatch):
    generator, bursts = np.random.default_rng(3), np.zeros(4 * SAMPLE_RATE_HZ)
    for start in range(8000, 60_000, 8000):
        bursts[start : start + 2400] = generator.standard_normal(2400) * np.exp(-np.arange(2400) / 600)
    # What a decoder makes of snare hits: the noise's envelope without its roughness.
    magnitude = np.sqrt(gaussian_filter(np.abs(stft(bursts)) ** 2, (0.7, 8))).astype(np.float32)
    crest_db = crest_factor_db(reconstruct(magnitude, bursts.size))
    monkeypatch.setattr(phase, "FLATNESS", 2.0)  # heap integration everywhere
    assert crest_db < crest_factor_db(reconstruct(magnitude, bursts.size)) - 3


def test_silence_stays_silent():
    assert not reconstruct(np.zeros((frame_count(100_000), N_BINS), np.float32), 100_000).any()


@pytest.mark.parametrize(("n_frames", "value"), [(5, np.nan), (5, np.inf), (5, -1.0), (7, 1.0)])
def test_magnitudes_that_cannot_be_are_refused(n_frames, value):
    with pytest.raises(ValueError, match=r"finite and not negative|1000 samples have 5 x 481"):
        reconstruct(np.full((n_frames, N_BINS), value, np.float32), 1000)
