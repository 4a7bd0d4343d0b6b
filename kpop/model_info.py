"""Which checkpoints there are and what their headers say, without loading any weights."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

MODELS_DIR = Path(os.environ.get("KPOP_MODELS_DIR", Path(__file__).parents[1] / "models"))
DEFAULT_MODEL = "twice4life"
SUFFIX = ".safetensors"
INDEX_SUFFIX = ".index.safetensors"
SNAPSHOTS_SUFFIX = ".snapshots.safetensors"
VOICEBANK_PATH = MODELS_DIR / "voicebank.safetensors"


@dataclass(frozen=True)
class ModelInfo:
    """A checkpoint's name, its title, and a line about it, which may be empty."""

    name: str
    title: str
    about: str


def available_models() -> tuple[str, ...]:
    """Names of the checkpoints in MODELS_DIR, the default first; what else is beside them doesn't count."""
    files = [path.name for path in MODELS_DIR.glob(f"*{SUFFIX}") if path != VOICEBANK_PATH]
    names = {name.removesuffix(SUFFIX) for name in files if not name.endswith((INDEX_SUFFIX, SNAPSHOTS_SUFFIX))}
    return tuple(sorted(names, key=lambda name: (name != DEFAULT_MODEL, name)))


def checkpoint_path(name: str) -> Path:
    """Path of a checkpoint, existing or not. name: as in available_models(), or a path that ends in .safetensors."""
    return Path(name) if name.endswith(SUFFIX) else MODELS_DIR / f"{name}{SUFFIX}"


def index_path(name: str) -> Path:
    """Path of the similarity index beside a checkpoint, existing or not. name: as for checkpoint_path()."""
    return checkpoint_path(name).with_suffix(INDEX_SUFFIX)


def snapshots_path(name: str) -> Path:
    """Path of the training snapshots beside a checkpoint, existing or not. name: as for checkpoint_path()."""
    return checkpoint_path(name).with_suffix(SNAPSHOTS_SUFFIX)


def model_info(name: str) -> ModelInfo:
    """Title and description from the checkpoint's header; its bare name where there is neither."""
    info = header(checkpoint_path(name)).get("info", {})
    n_songs, data = info.get("n_songs"), info.get("data")
    origin = f"Has learnt from {n_songs} songs: {data}." if n_songs and data else ""
    return ModelInfo(name, str(info.get("title") or name), str(info.get("about") or origin))


def header(path: Path) -> dict[str, dict]:
    """The JSON objects in a checkpoint's header ("info", "codec", "lstm"); empty where there is no readable file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
        return {key: json.loads(text) for key, text in texts.items() if text.startswith("{")}
    except (SafetensorError, OSError, ValueError):
        return {}
