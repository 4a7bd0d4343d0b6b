"""The codec's decoder for tokens that arrive in pieces: each step is computed once, with the same result as at once."""

from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import nn

from kpop.codec.model import Codec, ConvNeXtBlock
from kpop.constants import FRAMES_PER_STEP

Layer = Callable[[torch.Tensor], torch.Tensor]
_PACKED: WeakKeyDictionary[nn.Linear, Layer] = WeakKeyDictionary()


class StreamingDecoder:
    """Tokens of one song in, log-magnitudes out, piece by piece; equal, but for rounding, to Codec.decode() of all.

    Each convolution keeps the few inputs that its later outputs depend on. All songs share the packed weights, so the
    codec must not be trained any more.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec, decoder = codec, codec.decoder
        self._enter, self._split, self._leave = map(_packed, (decoder.enter, decoder.split, decoder.leave))
        self._step_blocks = [_StreamingBlock(block) for block in decoder.step_blocks]
        self._frame_blocks = [_StreamingBlock(block) for block in decoder.frame_blocks]

    @torch.inference_mode()
    def push(self, tokens: torch.Tensor, last: bool = False) -> torch.Tensor:
        """Tokens (n_steps, n_codebooks) int64 -> log-magnitudes (n_frames, N_BINS) that no later token changes.

        Possibly none; over all pushes up to the `last` there are FRAMES_PER_STEP frames for each step.
        """
        x = self._enter(torch.cat(self._codec.vectors(tokens), 1))
        for block in self._step_blocks:
            x = block.push(x, last)
        x = self._split(x).unflatten(1, (FRAMES_PER_STEP, -1)).flatten(0, 1)
        for block in self._frame_blocks:
            x = block.push(x, last)
        return self._leave(self._codec.decoder.norm(x)) * self._codec.bin_std + self._codec.bin_mean


class _StreamingBlock:
    """A ConvNeXtBlock with state for one song: delays its output until the inputs that it needs have arrived."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        self._block, (width, _, self._kernel) = block, block.depthwise.weight.shape
        self._expand, self._contract = _packed(block.expand, gelu=True), _packed(block.contract)
        self._buffer = self._padding = torch.zeros(self._kernel // 2, width)

    def push(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """(n_times, width) -> (n_done, width); over all pushes as many as went in."""
        seen = torch.cat([self._buffer, x, self._padding] if last else [self._buffer, x])
        n_done = max(len(seen) - self._kernel + 1, 0)
        self._buffer = seen[n_done:].clone()
        if not n_done:
            return x[:0]
        block, depthwise, reach = self._block, self._block.depthwise, self._kernel // 2
        y = nn.functional.conv1d(seen.T.unsqueeze(0), depthwise.weight, depthwise.bias, groups=seen.shape[1])[0].T
        return seen[reach : reach + n_done] + block.scale * self._contract(self._expand(block.norm(y)))


def _packed(linear: nn.Linear, gelu: bool = False) -> Layer:
    """The layer, optionally followed by GELU (tanh), as a function of (n, n_inputs) float32.

    Through oneDNN if available: on AMD's processors more than twice as fast as PyTorch's default, MKL.
    """
    if linear not in _PACKED:
        weight, bias = linear.weight.detach(), linear.bias.detach()
        if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            packed, run = torch.ops.mkldnn._reorder_linear_weight(weight), torch.ops.mkldnn._linear_pointwise
            activation = ("gelu", [], "tanh") if gelu else ("none", [], "")
            _PACKED[linear] = lambda x: run(x, packed, bias, *activation)
        else:
            after = partial(nn.functional.gelu, approximate="tanh") if gelu else nn.Identity()
            _PACKED[linear] = lambda x: after(nn.functional.linear(x, weight, bias))
    return _PACKED[linear]
