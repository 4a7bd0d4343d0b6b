"""Training the codec: reconstruction and commitment losses on random excerpts."""

from dataclasses import replace

import numpy as np
import torch
from torch.distributions import Categorical
from torch.nn import functional as F

from kpop.audio.stft import BIN_WIDTH_HZ, FLOOR_DB, mel_filterbank
from kpop.codec.model import Codec, CodecConfig
from kpop.training.data import Songs, excerpt, log_magnitude
from kpop.training.loop import Trainer, best_device, mixed_precision

BATCH = 24
EXCERPT_STEPS = 48  # 1.44 s
COMMITMENT_WEIGHT = 0.25  # beta of VQ-VAE
MEL_WEIGHT = 5.0  # at the ear's resolution
ROOT_WEIGHT = 30.0  # on square-root magnitudes, which are small: the loud bins, which carry pitch
DB_PER_NEPER = 20 / np.log(10)
RECORDED_SHARE = 0.5  # of a batch's excerpts, where there are recordings
HOPS = (208, 326)  # shortest and longest of a recorded excerpt, so that its tempo varies
MIXED_SHARE = 0.4  # of the recorded excerpts, to which another one is added
STATISTICS_EXCERPTS = 64
EVALUATION_EXCERPTS = 40
EVALUATION_STEPS = 400  # 12 s an excerpt: enough steps to measure the use of a codebook


class CodecTrainer(Trainer):
    """The codec in training."""

    name = "Codec"
    learning_rate = 1.5e-3
    matrix_rate = 0.02
    hidden = ("expand", "contract", "split")
    evaluate_every = 250

    def __init__(
        self,
        songs: Songs,
        held_out: Songs,
        config: CodecConfig,
        recordings: Songs = (),
        held_out_recordings: Songs = (),
    ) -> None:
        """recordings: for RECORDED_SHARE of each batch, augmented by tempo and by mixing."""
        torch.manual_seed(0)
        self.songs, self.recordings, self.device = songs, recordings, best_device()
        self.held_out = {"held_out": held_out} | ({"recorded": held_out_recordings} if held_out_recordings else {})
        self.model = Codec(config).to(self.device)
        self._mel = torch.from_numpy(mel_filterbank().T * np.float32(BIN_WIDTH_HZ)).to(self.device)
        features = self._batch(songs, STATISTICS_EXCERPTS, EXCERPT_STEPS, np.random.default_rng(0)).flatten(0, 1)
        self.model.bin_mean.copy_(features.mean(0))
        self.model.bin_std.copy_(features.std(0).clamp_min(0.1))

    def loss(self, step: int) -> torch.Tensor:
        """Distance of spectra (log, mel and square-root magnitude), and of latents from their code vectors.

        The codebooks' moving averages are updated with the batch.
        """
        n_recorded = round(BATCH * RECORDED_SHARE) if self.recordings else 0
        rng = np.random.default_rng([1, step])
        target = self._batch(self.songs, BATCH - n_recorded, EXCERPT_STEPS, rng, n_recorded)
        with mixed_precision(self.device):
            latents = [latent.float() for latent in self.model.latents(target)]
            quantized = [self._quantize(band, latent) for band, latent in enumerate(latents)]
            output = self.model.decode_vectors([vectors for vectors, _ in quantized])
        commitment = sum(distance for _, distance in quantized) / len(quantized)
        generator = torch.Generator().manual_seed(step)
        for quantizer, latent in zip(self.model.quantizers, latents, strict=True):
            quantizer.learn(latent.detach().flatten(0, 1), generator)
        mel = (self._mel_db(output) - self._mel_db(target)).abs().mean() / DB_PER_NEPER
        root = ((output / 2).exp() - (target / 2).exp()).abs().mean()
        distance = F.l1_loss(output, target) + MEL_WEIGHT * mel + ROOT_WEIGHT * root
        return distance + COMMITMENT_WEIGHT * commitment

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Held-out log-mel error in dB, and the smallest perplexity of a codebook as a share of its size."""
        self.model.eval()
        figures, tokens = {}, []
        for name, songs in self.held_out.items():
            target = self._batch(songs, EVALUATION_EXCERPTS, EVALUATION_STEPS, np.random.default_rng(2))
            tokens.append(self.model.encode(target))
            figures[name] = (self._mel_db(self.model.decode(tokens[-1])) - self._mel_db(target)).abs().mean().item()
        uses = perplexity_shares(tokens[0], self.model.config.flat_codebook_sizes)
        return figures | {"least_use": min(uses)}

    def summary(self, figures: dict[str, float]) -> str:
        """What evaluate() returned, in words."""
        recorded = f", {figures['recorded']:.2f} dB on recordings" if "recorded" in figures else ""
        return f"log-mel error {figures['held_out']:.2f} dB on held-out songs{recorded}"

    def _batch(self, songs: Songs, n: int, n_steps: int, rng: np.random.Generator, n_recorded: int = 0) -> torch.Tensor:
        """Log magnitudes (n + n_recorded, n_frames, N_BINS) of random excerpts."""
        excerpts = [_random_excerpt(songs, n_steps, rng) for _ in range(n)]
        for _ in range(n_recorded):
            samples = _random_excerpt(self.recordings, n_steps, rng, HOPS)
            if rng.random() < MIXED_SHARE:
                others, share = (self.recordings, songs)[rng.integers(2)], rng.uniform(0.2, 0.8)
                samples = samples * share + _random_excerpt(others, n_steps, rng) * (1 - share)
            excerpts.append(samples.astype(np.int16))
        return log_magnitude(torch.from_numpy(np.stack(excerpts)).to(self.device))

    def _quantize(self, band: int, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantized latents with a straight-through gradient, and their commitment loss."""
        quantizer = self.model.quantizers[band]
        if not quantizer.codebooks[0].seeded:
            return latent, latent.square().mean() * 0  # the first batch only initialises the codebooks
        with torch.no_grad():
            vectors = quantizer(latent.flatten(0, 1))[0].view_as(latent)
        return latent + (vectors - latent).detach(), F.mse_loss(latent, vectors)

    def _mel_db(self, log_magnitudes: torch.Tensor) -> torch.Tensor:
        power = (2 * log_magnitudes).exp() @ self._mel
        return 10 * power.clamp_min(10 ** (FLOOR_DB / 10)).log10()


def _random_excerpt(
    songs: Songs, n_steps: int, rng: np.random.Generator, hops: tuple[int, int] | None = None
) -> np.ndarray:
    """As excerpt(), of any song, at its own hop length or at one between `hops`."""
    song = songs[rng.integers(len(songs))]
    song = replace(song, hop=int(rng.integers(*hops))) if hops else song
    n_there = len(song.waveform) // song.step_samples
    return excerpt(song, int(rng.integers(max(1, n_there - n_steps + 1))), n_steps)


def perplexity_shares(tokens: torch.Tensor, sizes: tuple[int, ...]) -> list[float]:
    """Perplexity of each codebook in tokens (..., n_codebooks), divided by its size: 1 if all are used equally."""
    by_codebook = zip(tokens.flatten(0, -2).unbind(-1), sizes, strict=True)
    counts = [torch.bincount(each, minlength=size).float() for each, size in by_codebook]
    return [Categorical(each).perplexity().item() / len(each) for each in counts]
