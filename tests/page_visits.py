"""The page without a browser, for tests: visits, presses, and what it said."""

import json
from pathlib import Path

from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[1] / "app.py"
PATIENCE_S = 60
CATALOGUE = {
    "first-snow": {"name": "first-snow", "title": "First Snow", "story": "a bright verse", "labels": [[4, 0, 0, 0, 0]]},
    "neon-rain": {"name": "neon-rain", "title": "Neon Rain", "story": "a dark chorus", "labels": [[4, 0, 0, 0, 0]]},
}


def visit(query: dict[str, str] | None = None) -> AppTest:
    page = AppTest.from_file(APP, default_timeout=PATIENCE_S)
    page.query_params.update(query or {})
    return page.run()


def button(page: AppTest, label: str):
    return next(button for button in page.button if button.label == label)


def press(page: AppTest, label: str) -> AppTest:
    return button(page, label).click().run()


def press_generate(page: AppTest) -> AppTest:
    return press(page, "Generate")


def words(page: AppTest) -> str:
    return " ".join(element.proto.body for element in page.get("html"))


def sentences(page: AppTest) -> list[str]:
    assert not page.exception
    return [error.value for error in page.error]


def slider(page: AppTest, label: str):
    return next(slider for slider in page.slider if slider.label == label)


def box(page: AppTest, label: str):
    return next(box for box in page.selectbox if box.label == label)


def told(page: AppTest) -> dict:
    """What the stage in the browser was told last."""
    (player,) = (part for part in page.get("bidi_component") if part.proto.component_name.endswith("live_player"))
    return json.loads(player.proto.json)
