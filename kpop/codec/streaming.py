"""The codec's decoder for tokens that arrive in pieces: each step is computed once, with the same result as at once."""

from weakref import WeakKeyDictionary

import torch
from torch import nn

from kpop.codec.model import Codec, ConvNeXtBlock, Decoder
from kpop.constants import FRAMES_PER_STEP

_PACKED: WeakKeyDictionary[Codec, "_PackedDecoder"] = WeakKeyDictionary()


class StreamingDecoder:
    """Tokens of one song in, log-magnitudes out, piece by piece; equal, but for rounding, to Codec.decode() of all.

    Each convolution keeps the few inputs that its later outputs depend on. All songs share the packed weights, so the
    codec must not be trained any more.
    """

    def __init__(self, codec: Codec) -> None:
        if codec not in _PACKED:
            _PACKED[codec] = _PackedDecoder(codec.decoder)
        self._codec, self._decoder = codec, _PACKED[codec]
        self._step_blocks = [_StreamingBlock(block) for block in self._decoder.step_blocks]
        self._frame_blocks = [_StreamingBlock(block) for block in self._decoder.frame_blocks]

    @torch.inference_mode()
    def push(self, tokens: torch.Tensor, last: bool = False) -> torch.Tensor:
        """Tokens (n_steps, n_codebooks) int64 -> log-magnitudes (n_frames, N_BINS) that no later token changes.

        Possibly none; over all pushes up to the `last` there are FRAMES_PER_STEP frames for each step.
        """
        x = self._decoder.enter(torch.cat(self._codec.vectors(tokens), 1))
        for block in self._step_blocks:
            x = block.push(x, last)
        x = self._decoder.split(x).unflatten(1, (FRAMES_PER_STEP, -1)).flatten(0, 1)
        for block in self._frame_blocks:
            x = block.push(x, last)
        return self._decoder.leave(self._decoder.norm(x)) * self._codec.bin_std + self._codec.bin_mean


class _PackedDecoder:
    """A decoder's layers with prepacked matrices."""

    def __init__(self, decoder: Decoder) -> None:
        self.enter, self.split, self.leave = map(_packed, (decoder.enter, decoder.split, decoder.leave))
        self.step_blocks = [_PackedBlock(block) for block in decoder.step_blocks]
        self.frame_blocks = [_PackedBlock(block) for block in decoder.frame_blocks]
        self.norm = decoder.norm


class _PackedBlock:
    """A ConvNeXtBlock without padding."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        self._block = block
        self._expand, self._contract = _packed(block.expand, gelu=True), _packed(block.contract)
        self.width, self.kernel = block.depthwise.weight.shape[0], block.depthwise.weight.shape[2]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(n_times, width) -> (n_times - kernel + 1, width)."""
        block, reach = self._block, self.kernel // 2
        depthwise = block.depthwise
        y = nn.functional.conv1d(x.T.unsqueeze(0), depthwise.weight, depthwise.bias, groups=self.width)[0].T
        return x[reach : len(x) - reach] + block.scale * self._contract(self._expand(block.norm(y)))


class _StreamingBlock:
    """A block with state for one song: delays its output until the inputs that it needs have arrived."""

    def __init__(self, block: _PackedBlock) -> None:
        self._block = block
        self._padding = torch.zeros(block.kernel // 2, block.width)
        self._buffer = self._padding

    def push(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """(n_times, width) -> (n_done, width); over all pushes as many as went in."""
        seen = torch.cat([self._buffer, x, self._padding] if last else [self._buffer, x])
        n_done = max(len(seen) - self._block.kernel + 1, 0)
        self._buffer = seen[n_done:].clone()
        return self._block(seen) if n_done else x[:0]


def _packed(linear: nn.Linear, gelu: bool = False):
    """The layer, optionally followed by GELU (tanh), as a function of (n, n_inputs) float32.

    Through oneDNN if available: on AMD's processors more than twice as fast as PyTorch's default, MKL.
    """
    weight, bias = linear.weight.detach(), linear.bias.detach()
    activation = ("gelu", [], "tanh") if gelu else ("none", [], "")
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, *activation)
    plain = lambda x: nn.functional.linear(x, weight, bias)  # noqa: E731
    return (lambda x: nn.functional.gelu(plain(x), approximate="tanh")) if gelu else plain
