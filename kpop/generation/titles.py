"""What a song is called: a title invented from its settings, in the mood of its seed clip, odder the wilder it is.

File names that tell what a song is called.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from kpop.generation.clips import built_in_clips
from kpop.model_info import SUFFIX
from kpop.settings import Settings

WILD_TEMPERATURE = 1.4  # from here on titles are odd
MOODS = ("bright", "bouncy", "silky", "dark")  # as the stories of the built-in clips have them


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(" | "))


# Words are chosen so that no two of them together mean what a family would not say at dinner.
ADJECTIVES = {
    "bright": _words(
        "Neon | Crystal | Summer | Shining | Weightless | Rainbow | Sunlit | Airmail | Brand-New | Daylight | Aurora | "
        "Prism | Skyline | Opal | Minty | Sparkling | Kite-High | Polaroid | Holiday | Seaside | Glittering | Open-Air"
    ),
    "bouncy": _words(
        "Bubble | Jelly | Sugar | Fizzy | Pogo | Marshmallow | Lemon | Sprinkle | Strawberry | Roller | Polka-Dot | "
        "Zigzag | Glitter | Popcorn | Trampoline | Soda | Jump-Rope | Gummy | Pinball | Cartoon | Disco | Ping-Pong"
    ),
    "silky": _words(
        "Velvet | Honey | Satin | Midnight | Moonlit | Slow | Amber | Lavender | Caramel | Rosewater | Candlelit | "
        "Cashmere | Vanilla | Twilight | Porcelain | Whispered | Maple | Lantern | Evening | Tender | Drifting | Plum"
    ),
    "dark": _words(
        "Noir | Obsidian | Shadow | Phantom | Eclipse | Smoky | Onyx | Marble | Haunted | Thunder | Iron | Masked | "
        "Broken | Frozen | Crimson | Ashen | Underground | Mirrored | Starless | Graphite | Winter | Unlit"
    ),
    "any": _words(
        "Paper | Secret | Little | Silver | Golden | Electric | Endless | Hidden | Borrowed | Lucky | Lonely | Lost | "
        "Second | Faraway | Foolish | Glass | Perfect | Turquoise | Sleepless | Folded | Homemade | Reckless"
    ),
    "wild": _words(
        "Upside-Down | Quantum | Sideways | Left-Handed | Invisible | Sleepwalking | Backwards | Cosmic | Square | "
        "Accidental | Triangular | Imaginary | Polite | Nervous | Inflatable | Underwater | Ninety-Foot | Magnetic | "
        "Hypnotic | Unplugged | Runaway | Double-Decker | Clockwork | Interplanetary | Sugar-Free | Time-Travelling"
    ),
}
NOUNS = {
    "bright": _words(
        "Butterfly | Firework | Horizon | Balloon | Sunrise | Carousel | Postcard | Skylark | Windmill | Comet | "
        "Confetti | Parade | Lighthouse | Meadow | Snowflake | Sailboat | Fountain | Dragonfly | Daydream | Tangerine"
    ),
    "bouncy": _words(
        "Lollipop | Sneakers | Arcade | Cupcake | Static | Ricochet | Boomerang | Waffle | Hiccup | Sparkle | Yo-Yo | "
        "Skateboard | Hopscotch | Ladybug | Cartwheel | Puppy | Jukebox | Doodle | Seesaw | Sherbet"
    ),
    "silky": _words(
        "Perfume | Moonbeam | Taxi | Silhouette | Lullaby | Orchid | Piano | Whisper | Balcony | Swan | Rainfall | "
        "Letter | Pillow | Magnolia | Harbour | Teacup | Waltz | Nightingale | Ribbon | Paragraph"
    ),
    "dark": _words(
        "Labyrinth | Raven | Tunnel | Chandelier | Echo | Wolf | Blackout | Chess | Clocktower | Thunderstorm | Moth | "
        "Masquerade | Castle | Alibi | Riddle | Avalanche | Shipwreck | Panther | Crossfade | Undertow"
    ),
    "any": _words(
        "Gravity | Heartbeat | Satellite | Telephone | Mirror | Promise | Season | Galaxy | Umbrella | Signal | "
        "Window | Memory | Runway | Antenna | Planet | Voicemail | Stranger | Seashell | Elevator | Photograph"
    ),
    "wild": _words(
        "Giraffe | Spreadsheet | Teapot | Pancake | Octopus | Snorkel | Dishwasher | Accordion | Penguin | "
        "Kettle | Flamingo | Calculator | Submarine | Typewriter | Noodle | Cactus | Escalator | Zeppelin | Broccoli | "
        "Photocopier | Trombone | Croissant | Hovercraft | Platypus | Toaster | Algorithm | Lawnmower | Wormhole"
    ),
}
ENDINGS = _words(
    "Again | Please | Tonight | Always | Maybe | Wait | Twice | Goodbye | Hello | Still | Almost | Finally | "
    "Sometimes | Tomorrow | Forever | Ready | Anyway | Somehow"
)
CALLS = _words(
    "Call Me | Catch My | Hold the | Follow the | Chase the | Dear | Not Your | Be My | Dance Like | Love, | Mister | "
    "Miss | Hey | Save My | Goodnight, | Thank You, | No More | Where's My | Good Morning, | Love Me Like"
)
ASIDES = _words(
    "Don't Wake Me | Call Me Back | Stay a While | Turn It Up | Not Yet | Look at Me | Wait for Me | On Repeat | "
    "Hold On | Start Again | I Promise | Your Turn | Never Mind | Keep Up | It's Fine | Say Cheese | Slow Down | "
    "Surprise Me | Ask Me Tomorrow | Just Because | Wave Back | Let Me In | Leave a Light | Guess Who"
)
WILD_ASIDES = _words(
    "Wrong Number | Ask the Moon | Mind the Gap | Press Any Key | Terms Apply | Batteries Included | Some Assembly | "
    "In 7/8 | According to Science | This Way Up | Do Not Fold | Please Hold | As Seen Nowhere | Feed the Cat"
)
PLACES = _words(
    "Stereo | Slow Motion | the Wind | the Fog | Free Fall | Technicolor | Reverse | Orbit | Pixels | the Snow | "
    "the Spotlight | Disguise | Paradise | Transit | Watercolour | the Attic | Translation | Outer Space | Two Colours"
)
SHAPES = (  # each with its weight: those with the most titles in them come most often, so that few songs share one
    ("{a} {n}", 1),
    ("{n} & {other}", 1),
    ("{n} in {place}", 1),
    ("{n} ({aside})", 1),
    ("{a} {n} in {place}", 2),
    ("{hour}:{minute:02} {half} ({aside})", 3),
    ("{a} {n}, {ending}", 4),
    ("{call} {a} {n}", 4),
    ("{a} {n} & {other}", 5),
)
TAKEN = frozenset(  # what the words would also give, and others have made known
    _words(
        "lonely planet | frozen planet | lost planet | phantom planet | crystal planet | lost horizon | glass castle | "
        "golden seashell | perfect stranger | midnight memory | electric umbrella | broken window | winter season"
    )
)
_SHAPES_BY_WEIGHT = tuple(shape for shape, weight in SHAPES for _ in range(weight))


def song_title(settings: Settings) -> str:
    """Two to five words such as "Neon Butterfly", the same for the same settings wherever the files came from."""
    draw = _Draw(settings)
    while (title := _composed(draw, *_vocabulary(draw, settings))).lower() in TAKEN:
        pass
    return title


def without_folders(settings: Settings) -> Settings:
    """The settings with bare names where the command line was given paths: nobody else's business."""
    return replace(settings, clip=Path(settings.clip).name, model=Path(settings.model).name.removesuffix(SUFFIX))


class _Draw:
    """Picks by a hash that the settings decide, the same on every machine and in every version of Python."""

    def __init__(self, settings: Settings) -> None:
        said = asdict(without_folders(settings))
        plain = {key: value if isinstance(value, str) else float(value) for key, value in said.items()}
        self._digest = hashlib.blake2b(json.dumps(plain, sort_keys=True).encode()).digest()

    def __call__(self, n_options: int) -> int:
        self._digest = hashlib.blake2b(self._digest).digest()
        return int.from_bytes(self._digest[:8], "big") % n_options

    def pick(self, options: Sequence[str]) -> str:
        return options[self(len(options))]


def _vocabulary(draw: _Draw, settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Adjectives, nouns and asides, most of them in the mood of the clip, and odd ones where it gets wild.

    A clip of the listener's own has no story, so chance gives it a mood.
    """
    story = next((clip.story for clip in built_in_clips() if clip.name == settings.clip), "")
    mood = next((mood for mood in MOODS if mood in story.split()), None) or draw.pick(MOODS)
    moods = [mood, mood, "any"]
    asides = ASIDES
    if settings.temperature >= WILD_TEMPERATURE:
        moods, asides = [*moods, "wild", "wild", "wild"], WILD_ASIDES + ASIDES
    adjectives, nouns = (sum((pool[each] for each in moods), ()) for pool in (ADJECTIVES, NOUNS))
    return adjectives, nouns, asides


def _composed(draw: _Draw, adjectives: Sequence[str], nouns: Sequence[str], asides: Sequence[str]) -> str:
    noun = draw.pick(nouns)
    return draw.pick(_SHAPES_BY_WEIGHT).format(
        a=draw.pick(adjectives),
        n=noun,
        other=draw.pick([other for other in nouns if other != noun]),
        ending=draw.pick(ENDINGS),
        call=draw.pick(CALLS),
        aside=draw.pick(asides),
        place=draw.pick(PLACES),
        hour=draw(12),
        minute=draw(60),
        half=draw.pick(("AM", "AM", "PM")),
    )


LONGEST_NAME = 80


def song_file_name(settings: Settings) -> str:
    """For example "twice4life-neon-butterfly.wav"; safe on every file system."""
    spoken = song_title(settings).lower().replace("'", "")
    plain = re.sub(r"[^a-z0-9]+", "-", spoken).strip("-")
    return f"twice4life-{plain[:LONGEST_NAME]}.wav"
