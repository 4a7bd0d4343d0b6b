"""Imports go one way, heavy packages are imported where they are needed, and what is imported is declared."""

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOW_TO_HIGH = """
    errors constants settings model_info
    audio.io audio.stft audio.phase audio.loudness audio.beat
    corpus.score corpus.theory corpus.melody corpus.arrangement
    corpus.instruments corpus.voice corpus.mix corpus.compose
    codec.quantizer codec.model codec.streaming
    lstm.model lstm.packing lstm.sampler
    checkpoint
    training.loop training.data training.remixes training.codec training.lstm training.train
    generation.recording generation.clips generation.clip_maker generation.seed generation.titles generation.metadata
    generation.pipeline generation.session
    runtime engine server
    similarity.features similarity.index similarity.build
    evaluation.fidelity evaluation.measures evaluation.report
    feedback bench
    ui.assets ui.spectrogram ui.tasks ui.song ui.session_state
    ui.feedback ui.sharing ui.controls
    ui.player ui.similarity ui.history ui.learning ui.how ui.booth
    cli __main__
"""
ORDER = LOW_TO_HIGH.split()  # a module may import those before it
MODULES = {
    ".".join(path.relative_to(ROOT / "kpop").with_suffix("").parts): path
    for path in sorted((ROOT / "kpop").rglob("*.py"))
    if path.name != "__init__.py"
}
LIGHT = "kpop.cli kpop.engine kpop.server kpop.generation.clips kpop.generation.titles kpop.generation.metadata"
HEAVY = ("torch", "librosa", "soundfile", "soxr", "numba", "scipy", "segno")


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere, functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            is_module = {name for name in inner if name.removeprefix("kpop.") in MODULES}
            found |= is_module or {node.module}
    return found


def test_every_module_has_its_place():
    assert sorted(MODULES) == sorted(ORDER)


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_lower_ones(module):
    lower = {f"kpop.{name}" for name in ORDER[: ORDER.index(module)]}
    assert {name for name in imported(MODULES[module]) if name.split(".")[0] == "kpop"} <= lower


def test_training_and_generation_do_not_need_each_other():
    of = lambda package: {m for name, path in MODULES.items() if name.startswith(package) for m in imported(path)}  # noqa: E731
    assert not any(name.startswith("kpop.generation") for name in of("training."))
    assert not any(name.startswith("kpop.training") for name in of("generation."))


def test_only_the_ui_imports_streamlit():
    users = {name.split(".")[0] for name, path in MODULES.items() for m in imported(path) if m.startswith("streamlit")}
    assert users == {"ui"}


def test_the_page_starts_without_heavy_packages():
    code = f"""
import sys, app, {", ".join(LIGHT.split())}
from kpop.ui.how import Settings, cards
cards(None, Settings())
print(*(name for name in {HEAVY} if name in sys.modules))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_every_imported_package_is_declared():
    files = [ROOT / "requirements.txt", ROOT / "tests" / "requirements.txt"]
    product, tests = ({part.partition("==")[0].strip() for part in f.read_text().splitlines()} for f in files)
    distributions = packages_distributions()
    for paths, declared in (
        ([*MODULES.values(), ROOT / "app.py"], product),
        ((ROOT / "tests").glob("*.py"), product | tests),
    ):
        names = {name.split(".")[0] for path in paths for name in imported(path)}
        own = {"kpop", "app", *(path.stem for path in (ROOT / "tests").glob("*.py"))}
        third_party = names - own - set(sys.stdlib_module_names)
        assert "llvmlite" not in third_party
        assert {name for name in third_party if not declared & set(distributions.get(name, ()))} == set()
