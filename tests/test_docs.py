"""The documents name only commands, options and files that exist."""

import re
import shlex
from pathlib import Path

import pytest

from kpop.cli import parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "kpop/README.md", "models/README.md")
FILE = r"(?:[\w.-]+/)*[\w-]*\.(?:py|md|txt|toml|css|js|svg|png|json|safetensors|flac)"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every `python -m kpop ...` in the documents, without comments."""
    found = re.findall(r"python -m kpop ([^`\n]*)", "\n".join(map(text, DOCUMENTS)))
    return sorted({line.split("  #")[0].strip() for line in found})


def named_files() -> list[tuple[str, str]]:
    """Files in links and in backticks, with the document that names them."""
    found = set()
    for document in DOCUMENTS:
        linked = re.findall(r"\]\(((?!http)[^)#]+)\)", text(document))
        quoted = re.findall(rf"`({FILE})`", text(document))
        found |= {(document, name) for name in linked + quoted}
    return sorted(found)


@pytest.mark.parametrize("command", commands())
def test_every_command_and_option_shown_exists(command):
    words = shlex.split(command)
    if "--help" in words or len(words) == 1 or words[0].isupper():  # a command's name alone
        words = words[:1]
        assert words[0] in parser().format_help() or words[0].isupper() or words[0] == "--help"
        return
    parser().parse_args(words)


@pytest.mark.parametrize(("document", "name"), named_files())
def test_every_file_named_is_there(document, name):
    places = (ROOT / document).parent, ROOT, ROOT / "kpop"
    assert any((place / name).exists() for place in places), f"{document} names {name}"


def test_there_are_commands_and_files_to_check():
    assert len(commands()) >= 5
    assert len(named_files()) >= 20


def test_the_readme_is_short_and_its_two_commands_are_those_of_continuous_integration():
    readme = text("README.md")
    assert len(readme.split()) <= 1300
    first_screen = readme[: readme.index("## ")]
    assert "-r requirements.txt && .venv/bin/python -m streamlit run app.py" in first_screen
    test_command = re.search(r"^python3 -m venv .* -m pytest$", first_screen, re.MULTILINE).group()
    assert test_command in text(".ci/run")
