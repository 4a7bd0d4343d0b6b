"""The container gets all that the page needs and nothing else, and its commands work."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from chromium import ROOT

DOCKERFILE = ROOT / ".streamlit" / "Dockerfile"
NEVER_SHIPPED = (".git", ".venv", ".pytest_cache", ".ruff_cache")  # not even looked through: they are large
LOOK = """
from pathlib import Path
import app, kpop.engine.process
from kpop.errors import KpopError
from kpop.generation.checkpoints import available_models, voice
from kpop.generation.clips import built_in_clip, built_in_clips
from streamlit.testing.v1 import AppTest

def no_engine():  # it would compile for half a minute
    raise KpopError("no engine here")

kpop.engine.process.engine = no_engine
assert [built_in_clip(clip.name) for clip in built_in_clips()], "no clips"
assert all(voice(name).about for name in available_models()), "no voices"
page = AppTest.from_file("app.py", default_timeout=60).run()
assert not page.exception, page.exception
assert [error.value for error in page.error] == ["no engine here"]
assert any(button.label == "Generate" for button in page.button)
print(Path(app.__file__).resolve().parent)
"""


def instructions() -> list[tuple[str, str]]:
    """(instruction, what follows it) of each line of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def sources() -> list[str]:
    copies = [shlex.split(rest) for name, rest in instructions() if name == "COPY"]
    return [source for words in copies for source in words[:-1]]


def shipped() -> list[str]:
    """The files of the repository that .dockerignore lets into the build, as Docker reads it: the last match counts."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NEVER_SHIPPED]
        paths = [Path(folder, name).relative_to(ROOT) for name in files]
        found += [path.as_posix() for path in paths if is_shipped(path, rules)]
    return found


def is_shipped(path: Path, rules: list[str]) -> bool:
    prefixes = ["/".join(path.parts[: i + 1]) for i in range(len(path.parts))]
    kept = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        if any(matches(prefix, pattern) for prefix in prefixes):
            kept = rule.startswith("!")
    return kept


def matches(path: str, pattern: str) -> bool:
    """A pattern is of as many parts as the path, but for a leading **, which stands for any number of folders."""
    if pattern.startswith("**/"):
        return fnmatchcase(path.rsplit("/", 1)[-1], pattern[3:])
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


@pytest.fixture(scope="module")
def container(tmp_path_factory) -> Path:
    """A folder with what the Dockerfile copies, and nothing else."""
    folder = tmp_path_factory.mktemp("container")
    wanted = [source.rstrip("/") for source in sources()]
    for path in shipped():
        if any(path == source or path.startswith(f"{source}/") for source in wanted):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(ROOT / path, folder / path) if path.startswith("models/") else shutil.copy2(
                ROOT / path, folder / path
            )
    return folder


def run_in(container: Path, *command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=container, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_all_that_is_copied_is_there():
    files = shipped()
    for source in sources():
        assert any(path == source or path.startswith(source) for path in files), f"nothing comes of {source}"


def test_no_working_file_is_shipped():
    allowed = r"app\.py|LICENSE|requirements\.txt|kpop/.*\.(py|js|css|html)|\.streamlit/[\w-]+\.(css|html|png|svg|toml)"
    allowed += r"|models/[\w.-]+\.safetensors|models/clips/[\w-]+\.(flac|json)"
    assert [path for path in shipped() if not re.fullmatch(allowed, path)] == []
    assert ".streamlit/secrets.toml" not in shipped()


def test_secrets_and_votes_stay_here():
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for private in ("secrets.toml", "feedback.sqlite", "feedback.sqlite-wal"):
        assert not is_shipped(Path(".streamlit", private), rules)


def test_every_source_of_the_package_is_shipped():
    files = set(shipped())
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "kpop").rglob("*") if path.suffix in {".py", ".js"}}
    assert wanted <= files


def test_the_page_comes_up_from_what_is_copied_alone(container):
    done = run_in(container, sys.executable, "-c", LOOK, TWICE4LIFE_FEEDBACK="off")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(str(container.resolve()))


def test_the_server_starts_by_the_containers_own_command():
    command = json.loads(dict(instructions())["CMD"])
    assert command[:5] == ["python", "-m", "streamlit", "run", "app.py"]
    options = [option.lstrip("-").split("=")[0] for option in command[5:]]
    known = run_in(ROOT, sys.executable, "-m", "streamlit", "run", "--help").stdout
    assert all(option in known for option in options)


def test_the_health_check_asks_where_the_server_listens():
    health = dict(instructions())["HEALTHCHECK"]
    port = dict(instructions())["EXPOSE"]
    code = shlex.split(health.split("CMD", 1)[1])[-1]
    compile(code, "HEALTHCHECK", "exec")
    assert f"localhost:{port}/_stcore/health" in code


def test_torch_comes_as_its_cpu_build_in_the_version_that_is_pinned():
    runs = [rest for name, rest in instructions() if name == "RUN"]
    (torch,) = [line for line in runs if "download.pytorch.org/whl/cpu" in line]
    pin = re.search(r'"\$\((.*)\)"', torch).group(1)
    found = run_in(ROOT, "sh", "-c", pin).stdout.split()
    assert len(found) == 1
    assert found[0].startswith("torch==")


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="compiles for half a minute: CI=true to run it")
def test_the_warm_up_spares_the_first_listener_the_compiling(container, tmp_path):
    (warm_up,) = [rest for name, rest in instructions() if name == "RUN" and "kpop generate" in rest]
    warm_up = warm_up.replace("python", sys.executable, 1).replace("/tmp/first.wav", str(tmp_path / "first.wav"))
    seconds = []
    for _ in range(2):
        started_s = time.monotonic()
        done = run_in(container, "sh", "-c", warm_up, NUMBA_CACHE_DIR=str(tmp_path / "numba"))
        assert done.returncode == 0, done.stderr
        seconds.append(time.monotonic() - started_s)
    print(f"the first song of a process: {seconds[0]:.1f} s, once it was warmed up {seconds[1]:.1f} s")
    assert seconds[1] < seconds[0] / 2
