"""Imports go one way, and heavy or optional packages stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOW_TO_HIGH = (
    "errors constants settings model_info audio corpus codec lstm checkpoint training generation engine similarity "
    "evaluation feedback server ui commands __main__"
)
ORDER = LOW_TO_HIGH.split()  # a room may import those before it
FILES = sorted((ROOT / "kpop").rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "kpop").parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_low_levels_never_import_high_levels(path):
    if path.parent.name == "kpop" and path.name == "__init__.py":
        return
    own_level = ORDER.index(room(path))
    for module in imported_modules(path):
        if module.startswith("kpop."):
            assert ORDER.index(module.split(".")[1]) <= own_level, f"{path} imports {module}"


def test_training_and_generation_do_not_need_each_other():
    training = set().union(*(imported_modules(p) for p in FILES if room(p) == "training"))
    generation = set().union(*(imported_modules(p) for p in FILES if room(p) == "generation"))
    assert not any(module.startswith("kpop.generation") for module in training)
    assert not any(module.startswith("kpop.training") for module in generation)


def test_only_the_page_knows_streamlit():
    imports = {(room(path), module) for path in FILES for module in imported_modules(path) if "streamlit" in module}
    assert {place for place, _ in imports} == {"ui"}


def test_lstm_knows_nothing_of_audio():
    modules = set().union(*(imported_modules(p) for p in FILES if room(p) == "lstm"))
    assert not any(m.startswith(("kpop.audio", "kpop.codec", "kpop.corpus")) for m in modules)


def test_composer_and_training_import_without_librosa_and_soundfile():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['librosa', 'soundfile', 'soxr']))\n"
        "import kpop.corpus.collection, kpop.training.train, kpop.training.data, kpop.__main__"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
