"""The container gets all that the page needs, and its commands work."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from kpop.cli import parser

ROOT = Path(__file__).parents[1]


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
