"""Where the weights are, and what they say of themselves, found without loading them."""

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MODELS_DIR = Path(os.environ.get("KPOP_MODELS_DIR", Path(__file__).parents[1] / "models"))
DEFAULT_MODEL = "twice4life"
SUFFIX = ".safetensors"
INDEX_SUFFIX = ".index.safetensors"
BESIDE_A_MODEL = (INDEX_SUFFIX, ".snapshots.safetensors")
LENGTH_BYTES = 8  # of a safetensors file, before its header in JSON
LONGEST_HEADER_BYTES = 1 << 24


@dataclass(frozen=True)
class ModelInfo:
    """A checkpoint as a listener sees it: its name, a title, and a line about it, which may be empty."""

    name: str
    title: str
    about: str


def available_models() -> tuple[str, ...]:
    """Names of the checkpoints in MODELS_DIR, the one that we ship first.

    What only belongs to a checkpoint, such as its index, is none itself.
    """
    files = [path.name for path in MODELS_DIR.glob(f"*{SUFFIX}") if not path.name.endswith(BESIDE_A_MODEL)]
    names = {name.removesuffix(SUFFIX) for name in files}
    return tuple(sorted(names, key=lambda name: (name != DEFAULT_MODEL, name)))


def checkpoint_path(name: str) -> Path:
    """The file of a checkpoint, there or not. name: as in available_models(), or a path that ends in .safetensors."""
    return Path(name) if name.endswith(SUFFIX) else MODELS_DIR / f"{name}{SUFFIX}"


def index_path(name: str) -> Path:
    """The file of the index of what a checkpoint was trained on, there or not. name: as for checkpoint_path()."""
    path = checkpoint_path(name)
    return path.with_name(path.name.removesuffix(SUFFIX) + INDEX_SUFFIX)


def voice(name: str) -> ModelInfo:
    """What a checkpoint says of itself, or its bare name where it says nothing. Reads its header alone."""
    info = _info(checkpoint_path(name))
    title, about = (str(info.get(key) or "") for key in ("title", "about"))
    return ModelInfo(name, title or name, about or _about(info))


def _about(info: dict) -> str:
    n_songs, data = info.get("n_songs"), info.get("data")
    return f"Has learnt from {n_songs} songs: {data}." if n_songs and data else ""


def _info(path: Path) -> dict:
    """The info of a checkpoint; empty where there is none, or no readable file."""
    return _read_info(path, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=64)
def _read_info(path: Path, _changed_ns: int) -> dict:
    try:
        with path.open("rb") as file:
            n_bytes = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header = json.loads(file.read(min(n_bytes, LONGEST_HEADER_BYTES)))
        info = json.loads(header["__metadata__"]["info"])
        return info if isinstance(info, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
