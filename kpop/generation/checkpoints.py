"""Where the weights are, found without loading them."""

import os
from pathlib import Path

MODELS_DIR = Path(os.environ.get("KPOP_MODELS_DIR", Path(__file__).parents[2] / "models"))
DEFAULT_MODEL = "twice4life"


def available_models() -> tuple[str, ...]:
    """Names of the checkpoints in MODELS_DIR, the one that we ship first."""
    names = (path.stem for path in MODELS_DIR.glob("*.safetensors"))
    return tuple(sorted(names, key=lambda name: (name != DEFAULT_MODEL, name)))


def checkpoint_path(name: str) -> Path:
    """The file of a checkpoint, there or not. name: as in available_models(), or a path that ends in .safetensors."""
    return Path(name) if name.endswith(".safetensors") else MODELS_DIR / f"{name}.safetensors"
