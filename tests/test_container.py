"""The container gets all that the page needs and nothing else, and its commands work."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import compress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / ".streamlit" / "Dockerfile"
SKIPPED_FOLDERS = (".git", ".venv", ".pytest_cache", ".ruff_cache")
ALLOWED = (
    r"app\.py|LICENSE|requirements\.txt|kpop/.*\.(py|js|css|html|svg|json|md)|\.streamlit/config\.toml"
    r"|models/[\w.-]+\.safetensors|models/clips/[\w-]+\.(flac|json)"
)


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of each line of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def shipped() -> list[str]:
    """The files that .dockerignore lets into the build, as Docker reads it: the last matching rule counts."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    patterns = [f"/{rule.removeprefix('!')}".removeprefix("/**/") for rule in rules]
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        for name in files:
            path = "/" / Path(folder, name).relative_to(ROOT)
            matches = [any(place.match(pattern) for place in (path, *path.parents)) for pattern in patterns]
            if list(compress(rules, matches))[-1].startswith("!"):
                found.append(str(path)[1:])
    return found


@pytest.fixture(scope="module")
def container(tmp_path_factory) -> Path:
    """A folder with what the Dockerfile copies, and nothing else."""
    folder, files = tmp_path_factory.mktemp("container"), shipped()
    sources = [word.rstrip("/") for name, rest in instructions() if name == "COPY" for word in shlex.split(rest)[:-1]]
    for source in sources:
        found = [path for path in files if path == source or path.startswith(f"{source}/")]
        assert found, f"nothing is copied by {source}"
        for path in found:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (os.symlink if path.startswith("models/") else shutil.copy2)(ROOT / path, folder / path)
    return folder


def run_in(folder: Path, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_no_working_file_is_shipped_and_every_source_is():
    files = shipped()
    assert [path for path in files if not re.fullmatch(ALLOWED, path)] == []
    sources = {".py", ".js", ".css", ".svg"}
    assert {p.relative_to(ROOT).as_posix() for p in (ROOT / "kpop").rglob("*") if p.suffix in sources} <= set(files)


def test_the_container_makes_a_song_by_its_own_warm_up_command(container, tmp_path):
    (warm_up,) = [rest for name, rest in instructions() if name == "RUN" and "kpop generate" in rest]
    warm_up = warm_up.replace("python", sys.executable, 1).replace("/tmp/first.wav", str(tmp_path / "first.wav"))
    done = run_in(container, "sh", "-c", warm_up)
    assert done.returncode == 0, done.stderr


def test_the_server_starts_by_a_command_that_streamlit_knows():
    command = json.loads(dict(instructions())["CMD"])
    assert command[:5] == ["python", "-m", "streamlit", "run", "app.py"]
    help_text = run_in(ROOT, sys.executable, "-m", "streamlit", "run", "--help").stdout
    assert all(option.lstrip("-").split("=")[0] in help_text for option in command[5:])


def test_the_health_check_asks_where_the_server_listens():
    found = dict(instructions())
    code = shlex.split(found["HEALTHCHECK"].split("CMD", 1)[1])[-1]
    compile(code, "HEALTHCHECK", "exec")
    assert f"localhost:{found['EXPOSE']}/_stcore/health" in code


def test_torch_comes_as_its_cpu_build_in_the_pinned_version():
    (torch,) = [rest for name, rest in instructions() if name == "RUN" and "download.pytorch.org/whl/cpu" in rest]
    pin = re.search(r'"\$\((.*)\)"', torch).group(1)
    (found,) = run_in(ROOT, "sh", "-c", pin).stdout.split()
    assert found.startswith("torch==")
