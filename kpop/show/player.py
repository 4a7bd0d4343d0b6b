"""The live player, which plays a song in the browser while it is made: what it is built from, and what it is told."""

from pathlib import Path
from typing import TYPE_CHECKING

from kpop.show.performance import song_title

if TYPE_CHECKING:
    from kpop.engine.job import Job

_HERE = Path(__file__).parent


def _text(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


HTML, CSS, JS = _text("player.html"), _text("player.css"), _text("live_sound.js", "handover.js", "player.js")


def live_data(job: "Job", base_path: str) -> dict:
    """What the player is told of a job: see `told` in player.js. base_path: where the page lives, "" for the root."""
    return {
        "url": f"{base_path}/live/{job.id}",
        "n_samples": job.n_samples,
        "title": song_title(job.clip.title),
        "shown": False,
    }
