"""What Streamlit's server and a browser tell each other, as far as a listener needs it: messages in and out."""

import re
from dataclasses import dataclass, field

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

LIVE_PATH = re.compile(rb"/live/[\w-]{12,}")
DOWNLOAD, SONG = "download_button", "Download WAV"
ALERT_OF_ERROR = 1

Place = tuple[int, ...]
Value = bool | int | float | str


@dataclass
class View:
    """What a browser would show: the page's elements by their place, kept up to date by take().

    n_runs: how many runs of the script have come to their own end; alerts and exceptions are read off the elements
    """

    elements: dict[Place, Element] = field(default_factory=dict)
    n_runs: int = 0
    own_values: dict[str, WidgetState] = field(default_factory=dict)
    timers: dict[str, float] = field(default_factory=dict)  # fragment -> seconds between its runs
    _fresh: set[Place] = field(default_factory=set)
    _in_fragment: bool = False

    def take(self, data: bytes) -> None:
        """One message of the server."""
        message = ForwardMsg.FromString(data)
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._in_fragment = bool(message.metadata.run.fragment_ids)
            self._begin()
        elif kind == "delta":
            self._draw(tuple(message.metadata.delta_path), message.delta)
        elif kind == "auto_rerun":
            self.timers[message.auto_rerun.fragment_id] = message.auto_rerun.interval
        elif kind == "stop_auto_rerun":
            for fragment in message.stop_auto_rerun.fragment_ids:
                self.timers.pop(fragment, None)
        elif kind == "script_finished":
            self._end(message.script_finished)

    def widget(self, label: str) -> Element | None:
        """The element whose label is that, or begins with it and goes on after a space; None while there is none."""
        labels = ((getattr(_inner(element), "label", ""), element) for element in self.elements.values())
        return next((element for its, element in labels if f"{its} ".startswith(f"{label} ")), None)

    def live_path(self) -> str | None:
        """Where the song in the making streams from, "/live/..."; None where no component tells."""
        for element in self.elements.values():
            if element.WhichOneof("type") == "bidi_component":
                found = LIVE_PATH.search(element.bidi_component.SerializeToString())
                if found:
                    return found.group().decode()
        return None

    def download(self) -> str | None:
        """Where the finished song can be had from; None where none is shown."""
        buttons = (e.download_button for e in self.elements.values() if e.WhichOneof("type") == DOWNLOAD)
        return next((each.url or each.deferred_file_id for each in buttons if each.label == SONG), None)

    def errors(self) -> list[str]:
        """What the page complains of, in its own words."""
        kinds = [(element.WhichOneof("type"), element) for element in self.elements.values()]
        alerts = [e.alert.body for kind, e in kinds if kind == "alert" and e.alert.format == ALERT_OF_ERROR]
        return alerts + [e.exception.message for kind, e in kinds if kind == "exception"]

    def forget_errors(self) -> None:
        """From now on errors() are new ones."""
        self.elements = {p: e for p, e in self.elements.items() if e.WhichOneof("type") not in ("alert", "exception")}

    def _begin(self) -> None:
        self._fresh = set()
        if not self._in_fragment:
            self.timers.clear()

    def _draw(self, place: Place, delta) -> None:
        self._fresh.add(place)
        if delta.WhichOneof("type") != "new_element":
            return
        self.elements[place] = delta.new_element
        inner = _inner(delta.new_element)
        if getattr(inner, "set_value", False):
            self.own_values.pop(inner.id, None)  # the page has set it

    def _end(self, status: int) -> None:
        """What a whole run did not draw again is gone."""
        if status == ForwardMsg.FINISHED_SUCCESSFULLY:
            self.elements = {place: e for place, e in self.elements.items() if place in self._fresh}
        if status in (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY):
            self.n_runs += 1


def rerun(view: View, pressed: Element | None = None, fragment: str = "", query: str = "") -> bytes:
    """The message that asks for a run with all that the visitor has set, a button pressed or none."""
    message = BackMsg()
    message.rerun_script.query_string = query
    message.rerun_script.fragment_id = fragment
    message.rerun_script.is_auto_rerun = bool(fragment)
    states = list(view.own_values.values())
    if pressed is not None:
        states.append(WidgetState(id=_inner(pressed).id, trigger_value=True))
    message.rerun_script.widget_states.widgets.extend(states)
    message.rerun_script.widget_states.SetInParent()
    return message.SerializeToString()


def state_of(element: Element, value: Value) -> WidgetState:
    """A widget's state as a browser would send it after the visitor has chosen a value.

    For a selectbox or a radio, value is the number of the option. ValueError for other kinds of widgets.
    """
    kind, widget = element.WhichOneof("type"), _inner(element)
    state = WidgetState(id=widget.id)
    if kind == "slider":
        state.double_array_value.data.append(float(value))
    elif kind == "number_input":
        state.double_value = float(value)
    elif kind in ("selectbox", "radio"):
        state.string_value = widget.options[int(value)]
    elif kind == "checkbox":
        state.bool_value = bool(value)
    else:
        raise ValueError(f"a {kind} cannot be set")
    return state


def _inner(element: Element):
    """The slider, button or whatever it is that an element holds."""
    return getattr(element, element.WhichOneof("type") or "", None)
