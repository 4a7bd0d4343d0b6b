"""The page without a browser, for tests: visits, presses, and what it shows."""

import json
from pathlib import Path

from streamlit.testing.v1 import AppTest

from kpop.settings import Settings

APP = Path(__file__).parents[1] / "app.py"
TIMEOUT_S = 120


def visit(query: dict[str, str] | None = None) -> AppTest:
    """A page whose songs last four seconds unless the query says otherwise."""
    page = AppTest.from_file(APP, default_timeout=TIMEOUT_S)
    page.query_params.update({"length_s": "4"} | (query or {}))
    return page.run()


def controls(query: dict[str, str] | None = None, **state) -> AppTest:
    """A page of controls alone, on its first run. state: session state before that."""

    def script() -> None:
        import streamlit as st

        from kpop.settings import Settings
        from kpop.ui.controls import choose, chosen

        choose(Settings(), st.container(), st.container())
        st.session_state.chosen = chosen()

    page = AppTest.from_function(script, default_timeout=TIMEOUT_S)
    page.query_params.update(query or {})
    for key, value in state.items():
        page.session_state[key] = value
    return page.run()


def chosen(page: AppTest) -> Settings:
    """What `controls` are set to."""
    assert not page.exception
    return page.session_state.chosen[0]


def button(page: AppTest, label: str):
    """The first button with these words in its label."""
    return next(button for button in page.button if label in button.label)


def press(page: AppTest, label: str) -> AppTest:
    """Press a button, and wait for the songs that it has requested."""
    return settle(button(page, label).click().run())


def settle(page: AppTest) -> AppTest:
    """Wait for songs and model, and run the page again, as its player does in a browser."""
    session = page.session_state.session
    for task in filter(None, (session.loader, session.rendering)):
        assert task.wait(TIMEOUT_S)
    return page.run()


def words(page: AppTest) -> str:
    """The HTML on the page."""
    assert not page.exception
    return " ".join(element.proto.body for element in page.get("html"))


def slider(page: AppTest, label: str):
    return next(slider for slider in page.slider if slider.label == label)


def player(page: AppTest) -> dict:
    """What the player in the browser received last."""
    assert not page.exception
    (part,) = (part for part in page.get("bidi_component") if part.proto.component_name.endswith("player"))
    (data,) = json.loads(part.proto.json)
    return data
