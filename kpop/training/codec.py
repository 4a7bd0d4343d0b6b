"""Training the codec: what is heard of the spectrum is to survive a few codes a step."""

import numpy as np
import torch
from torch.nn import functional as F

from kpop.audio.stft import BIN_WIDTH_HZ, FLOOR_DB, mel_filterbank
from kpop.codec.model import Codec, CodecConfig
from kpop.training.data import Song, cut, log_magnitude, songs_id
from kpop.training.loop import mixed_precision

BATCH = 24
PIECE_STEPS = 48  # 1.44 s
COMMITMENT = 0.25  # weight of the latents' distance from their codes (VQ-VAE's beta)
MEL_WEIGHT = 5.0  # what the ear resolves counts most
LINEAR_WEIGHT = 30.0  # on square-root magnitudes, which are small numbers: the loud bins, that decide pitch
DB_PER_NEPER = 20 / np.log(10)
EVALUATION_PIECES = 40
EVALUATION_STEPS = 400  # 12 s a piece: enough steps to tell the use of a codebook


class CodecStage:
    """The codec in training; a Stage of kpop.training.loop."""

    name = "codec"
    learning_rate = 1.5e-3
    evaluate_every = 250

    def __init__(
        self,
        songs: list[Song],
        held_out: list[Song],
        device: torch.device,
        config: CodecConfig,
        start: Codec | None = None,
    ) -> None:
        """start: a trained codec of the same shape to go on from."""
        torch.manual_seed(0)
        self.songs_id = songs_id(songs, held_out)
        self.songs, self.held_out, self.device = songs, held_out, device
        self.model = Codec(config).to(device)
        self._mel = torch.from_numpy(mel_filterbank().T * np.float32(BIN_WIDTH_HZ)).to(device)
        if start is None:
            self._set_statistics()
        else:
            self._go_on_from(start)
        self._latents: list[torch.Tensor] = []

    def loss(self, step: int) -> torch.Tensor:
        """Distance of spectra (log, mel and square-root magnitude) and of latents from their codes."""
        truth = self._batch(self.songs, BATCH, PIECE_STEPS, np.random.default_rng([1, step]))
        with mixed_precision(self.device):
            latents = self.model.latents(truth)
            self._latents = [latent.float() for latent in latents]
            quantised = [self._quantise(band, latent) for band, latent in enumerate(self._latents)]
            copy = self.model.decode_vectors([through for through, _ in quantised])
        commitment = sum(distance for _, distance in quantised) / len(quantised)
        return self._distance(copy, truth) + COMMITMENT * commitment

    def after_step(self, step: int) -> None:
        """Move the codebooks towards the latents of the batch."""
        generator = torch.Generator().manual_seed(step)
        for quantiser, latent in zip(self.model.quantizers, self._latents, strict=True):
            quantiser.learn(latent.detach().flatten(0, 1), generator)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Held-out log-mel error in dB, and the smallest perplexity of a codebook as a share of its size."""
        self.model.eval()
        rng = np.random.default_rng(2)
        truth = self._batch(self.held_out, EVALUATION_PIECES, EVALUATION_STEPS, rng)
        codes = self.model.encode(truth)
        copy = self.model.decode(codes)
        error = (self._mel_db(copy) - self._mel_db(truth)).abs().mean().item()
        return {"held_out": error, "least_use": min(perplexity_shares(codes, self.model.config.flat_codebook_sizes))}

    def publish(self, curve: list[dict[str, float]]) -> None:
        """A codec alone plays nothing yet."""

    def _batch(self, songs: list[Song], n_pieces: int, n_steps: int, rng: np.random.Generator) -> torch.Tensor:
        return log_magnitude(
            torch.from_numpy(np.stack([_piece(songs, n_steps, rng) for _ in range(n_pieces)])).to(self.device)
        )

    def _quantise(self, band: int, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantised latents that pass gradients straight through, and the commitment distance."""
        quantiser = self.model.quantizers[band]
        if not quantiser.codebooks[0].seeded:
            return latent, latent.square().mean() * 0  # the first batch only gives the codebooks their start
        with torch.no_grad():
            vectors = quantiser(latent.flatten(0, 1))[0].view_as(latent)
        return latent + (vectors - latent).detach(), F.mse_loss(latent, vectors)

    def _distance(self, copy: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        in_mel = (self._mel_db(copy) - self._mel_db(truth)).abs().mean() / DB_PER_NEPER
        in_root = ((copy / 2).exp() - (truth / 2).exp()).abs().mean()
        return F.l1_loss(copy, truth) + MEL_WEIGHT * in_mel + LINEAR_WEIGHT * in_root

    def _mel_db(self, log_magnitudes: torch.Tensor) -> torch.Tensor:
        power = (2 * log_magnitudes).exp() @ self._mel
        return 10 * power.clamp_min(10 ** (FLOOR_DB / 10)).log10()

    def _go_on_from(self, start: Codec) -> None:
        self.model.load_state_dict(start.state_dict())
        for quantiser in self.model.quantizers:
            for codebook in quantiser.codebooks:
                codebook.go_on()

    def _set_statistics(self) -> None:
        features = self._batch(self.songs, 64, PIECE_STEPS, np.random.default_rng(0)).flatten(0, 1)
        self.model.bin_mean.copy_(features.mean(0))
        self.model.bin_std.copy_(features.std(0).clamp_min(0.1))


def _piece(songs: list[Song], n_steps: int, rng: np.random.Generator) -> np.ndarray:
    song = songs[rng.integers(len(songs))]
    return cut(song, int(rng.integers(max(1, song.n_steps - n_steps + 1))), n_steps)


def perplexity_shares(codes: torch.Tensor, sizes: tuple[int, ...]) -> list[float]:
    """Perplexity of each stream's use in codes (..., n_codebooks), divided by its codebook's size."""
    shares = []
    for stream, size in enumerate(sizes):
        use = torch.bincount(codes[..., stream].flatten(), minlength=size).float()
        share = use / use.sum()
        entropy = -(share * share.clamp_min(1e-12).log()).sum()
        shares.append(entropy.exp().item() / size)
    return shares
