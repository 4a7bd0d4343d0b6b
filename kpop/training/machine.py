"""Where training runs: CUDA when there is one, else the CPU, in bfloat16 where the machine has it."""

from contextlib import AbstractContextManager

import torch


def best_device() -> torch.device:
    """CUDA if it is there, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision(device: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16; on a CPU only if it computes in bfloat16 itself (elsewhere it would be slower)."""
    enabled = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
