"""Hear it learn: ten moments of a voice's training, from noise to music."""

import time

import streamlit as st

from kpop.page.looks import style
from kpop.page.waiting import POLL_S
from kpop.show.background import BackgroundTask
from kpop.show.learning import HTML, JS, Lesson, lesson, snapshots_path

ASKED = "learning_asked"  # by this listener: what was asked for and when, by voice
INVITATION = (
    "The same dream at ten moments of the training. At first it knows nothing, and you hear noise; an hour later it "
    "plays in time and in tune. Move the slider while it plays."
)


def hear_it_learn(model: str) -> None:
    """The training of a voice, to be scrubbed through; nothing where no snapshots are beside it.

    Nothing is made before the listener asks, and then in the background. model: name of the checkpoint.
    """
    place = st.container(key="learning")
    if not snapshots_path(model).exists():
        return
    st.html(style("learning"))
    with place.expander("Hear it learn", icon=":material/school:"):
        st.markdown(INVITATION)
        task, asked_at_s = st.session_state.get(ASKED, {}).get(model, (None, None))
        with st.container(key="learning-lesson"):
            if task is None or task.error:
                _offer(model, task)
            elif not task.finished:
                _wait(task)
            else:
                _show(task.result(), asked_at_s)


def _offer(model: str, failed: BackgroundTask[Lesson] | None) -> None:
    if failed:
        st.error(f"{failed.error}", icon=":material/music_off:")
    st.button("Play it from the beginning", icon=":material/play_arrow:", on_click=_ask, args=(model,))


def _ask(model: str) -> None:
    st.session_state.setdefault(ASKED, {})[model] = lesson(model), time.time()


@st.fragment(run_every=POLL_S)
def _wait(task: BackgroundTask[Lesson]) -> None:
    if task.finished:
        st.rerun()
    st.progress(task.fraction, f"{task.words}…")


def _show(shown: Lesson, asked_at_s: float) -> None:
    """The sounds and pictures, hidden, and the player that finds them there: nothing of it needs another run."""
    st.container(key="learning-sound").audio(shown.wav)
    st.container(key="learning-picture").image(shown.picture)
    player = st.components.v2.component("hear_it_learn", html=HTML, js=JS, isolate_styles=False)
    player(key="learning-player", data=shown.told() | {"begin": asked_at_s})
