"""A listener: opens the page, chooses, presses Generate, hears the song as it is made, and sees it when it is done."""

import asyncio
import time
from dataclasses import dataclass, field

from kpop.bench.live import Playback, play
from kpop.bench.visitor import Visitor
from kpop.errors import KpopError

GENERATE, ROLL = "Generate", "Roll"
SLIDERS = {"randomness": "Seed randomness", "length_s": "Length", "temperature": "Temperature"}
SONG_PATIENCE_S = 240.0
NEXT_STREAM_S = 3.0  # within which the page names the stream of a song that was asked for in place of another
FULL_WORDS = ("is full", "are taken")  # as the engine puts it when it has no room


@dataclass(frozen=True)
class Wishes:
    """What a listener sets before pressing; clip is the number of the seed clip in the page's list."""

    clip: int = 0
    seed_number: int = 7
    length_s: float = 30.0
    temperature: float = 1.0
    randomness: float = 0.3

    @classmethod
    def of(cls, number: int, length_s: float) -> "Wishes":
        """Every number's listener wishes for something else."""
        return cls(number, 1000 + number, length_s, 0.8 + 0.05 * (number % 9), 0.1 * (number % 6))


@dataclass
class Heard:
    """What became of one press of Generate. Times in seconds since the click; None for what never came.

    page_s: until the page named the stream; first_sound_s: until a player could begin; shown_s: until the finished song
    was there; n_underruns, silent_s: see Playback; refused: the page was full; errors: what else it complained of
    """

    page_s: float | None = None
    first_sound_s: float | None = None
    shown_s: float | None = None
    n_underruns: int = 0
    silent_s: float = 0.0
    received_s: float = 0.0
    refused: bool = False
    errors: list[str] = field(default_factory=list)


class Listener(Visitor):
    """A visitor who comes for songs."""

    def wish(self, wishes: Wishes) -> None:
        """Set what is wished for; the page hears of it with the next press."""
        for name, label in SLIDERS.items():
            self.choose(label, getattr(wishes, name))
        clips = self.view.widget("Seed clip").radio.options
        self.choose("Seed clip", wishes.clip % len(clips))
        self.choose("Seed number", wishes.seed_number)

    async def hear_a_song(self, most_s: float | None = None) -> Heard:
        """Press Generate and hear the song to its end, see it finished.

        most_s: leave the stream after so much sound, and do not wait for the end
        """
        heard, before = Heard(), (self.view.live_path(), self.view.download())
        clicked_s = await self.press(GENERATE)
        try:
            await self.until(lambda view: self._news(before), SONG_PATIENCE_S)
            heard.page_s = time.perf_counter() - clicked_s
            if self._is_live(before):
                await self._hear(heard, clicked_s, before, most_s)
            elif errors := self.view.errors():
                heard.refused = any(words in error for error in errors for words in FULL_WORDS)
                heard.errors = [] if heard.refused else errors
            else:
                heard.shown_s = heard.page_s
        except (KpopError, OSError) as error:
            heard.errors.append(str(error))
        return heard

    async def _hear(self, heard: Heard, clicked_s: float, before: tuple, most_s: float | None) -> None:
        playing = asyncio.create_task(self._play_latest(most_s))
        try:
            if most_s is None:
                await self.until(lambda view: self._is_shown(before) or view.errors(), SONG_PATIENCE_S)
                if self._is_shown(before):
                    heard.shown_s = time.perf_counter() - clicked_s
            _note(heard, await asyncio.wait_for(playing, SONG_PATIENCE_S), clicked_s)
        finally:
            playing.cancel()
        heard.errors += self.view.errors()

    async def _play_latest(self, most_s: float | None) -> Playback:
        """Play what the page names; a stream that ends because the page has meanwhile named another does not count."""
        while True:
            path = self.view.live_path()
            try:
                playback = await play(self.address, path, most_s)
                if playback.received_s and self.view.live_path() in (path, None):
                    return playback
            except KpopError:
                pass  # given up by a later press, as is one that ends without any sound: the page will name another
            await self.until(lambda view: view.live_path() not in (path, None), NEXT_STREAM_S)  # noqa: B023

    def _news(self, before: tuple) -> bool:
        """What a press leads to. A song shown beside the former stream is the former one's, come a little late."""
        unserved = self.view.live_path() is None and self._is_shown(before)
        return self._is_live(before) or unserved or bool(self.view.errors())

    def _is_live(self, before: tuple) -> bool:
        return self.view.live_path() not in (None, before[0])

    def _is_shown(self, before: tuple) -> bool:
        return self.view.download() not in (None, before[1])


def _note(heard: Heard, playback: Playback, clicked_s: float) -> None:
    if playback.first_sound_s is not None:
        heard.first_sound_s = playback.first_sound_s - clicked_s
    heard.n_underruns, heard.silent_s = playback.n_underruns, playback.silent_s
    heard.received_s = playback.received_s
