"""Words: Korean ones of everyday speech in lines that rhyme, English hooks, and chants, all as sung syllables.

A syllable is written in the Revised Romanisation of Korean (onset, vowel, coda), or is one of ENGLISH.
"""

import re
from functools import cache

import numpy as np

from kpop.corpus.theory import pick

ONSETS = {"": "", "kk": "k", "tt": "t", "pp": "p", "jj": "ʨ", "ch": "ʨʰ", "ss": "s", "g": "ɡ", "k": "kʰ", "n": "n"}
ONSETS |= {"d": "d", "t": "tʰ", "r": "ɾ", "l": "l", "m": "m", "b": "b", "p": "pʰ", "s": "s", "j": "ʥ", "h": "h"}
VOWELS = {"a": "a", "ae": "ɛ", "e": "e", "eo": "ʌ", "o": "o", "u": "u", "eu": "ɯ", "i": "i", "ya": "ja", "yeo": "jʌ"}
VOWELS |= {"yo": "jo", "yu": "ju", "ye": "je", "wa": "wa", "wo": "wʌ", "wi": "wi", "we": "we"}
CODAS = {"": "", "n": "n", "m": "m", "ng": "ŋ", "l": "l", "k": "k", "t": "t", "p": "p"}
ENGLISH = {  # syllable: IPA, diphthongs as Kokoro writes them (A I O W: ei, ai, ou, au)
    **{"oh": "O", "yeah": "jɛə", "too": "tʊ", "night": "nIt", "dance": "dæns", "fly": "flI"},
    **{"high": "hI", "love": "lʌv", "mee": "mi", "you": "ju", "shine": "ʃIn", "run": "ɹʌn", "uh": "ə", "way": "wA"},
    **{"heart": "hɑɹt", "fire": "fIə", "go": "ɡO", "now": "nW", "up": "ʌp", "on": "ɔn", "eye": "I", "call": "kɔl"},
    **{"hey": "hA", "ooh": "uː", "ah": "ɑː", "don't": "dOnt", "stop": "stɑp", "star": "stɑɹ", "light": "lIt"},
    **{"feel": "fil", "so": "sO", "with": "wɪð", "take": "tAk", "say": "sA", "wo": "wO"},
    "and": "ænd",
}

WORDS = (
    "na neo u-ri geu-dae byeol bit bam kkum mam mal son gil nun si-gan ma-eum ha-neul ba-ram no-rae mi-so se-sang "
    "dal-bit nun-bit byeol-bit chu-eok ba-da na-bi pa-do yeo-reum gyeo-ul geu-rim sa-rang o-neul nae-il ji-geum da-si "
    "jo-geum te-ba han-beon deo jal tto nal neol nae ne-ga nae-ga ham-kke geu-nyang sal-jjak cheon-cheon-hi eon-je-na "
    "ban-jja-gi-neun seo-ro-e on-jong-il kkeut-eop-neun du-geun-du-geun"
)
# Last words of lines, by rhyme.
RHYMES = {
    "a": "bin-na na-ra a-ra da-ma ga-ja wa bwa no-chi-ma ha-na nu-ga jo-a tteo-na gi-eok-ha-na jal-ga sa-ra-na",
    "yeo": "dal-lyeo gi-da-ryeo bul-leo deul-lyeo chum-chwo so-ri-chyeo tteol-lyeo neo il-lyeo geu-ri-wo a-reum-da-wo",
    "e": "nae no-rae geu-dae gyeo-te na-e-ge neo-e-ge ma-eum-e bam-e kkum-so-ge eon-je i-dae ha-neul-e",
    "i": "bi u-ri byeol-bi ma-mi so-ri han-ma-di geu-ri-gi yeon-gi na-bi jeo-meol-li pa-do-so-ri",
    "o": "do na-do neo-do da-si-do o-neul-do nae-il-do kkum-do bam-do byeol-do seo-ro i-dae-ro nae-ge-ro",
}
HOOKS = (
    "shine on mee",
    "fly so high",
    "dance with mee",
    "run uh way",
    "take mee high",
    "you and eye",
    "say you love mee",
    "light up mee now",
    "don't stop now",
    "feel so high",
    "call mee now",
    "love mee now",
    "go go star",
    "take mee too night",
    "heart on fire",
)
CHANTS = ("na na na", "la la la", "oh oh wo", "da di da", "ya ya oh", "na na hey", "wo oh oh", "hey hey", "ah ah ah")
SHOUTS, CHOPS = ("hey", "ha", "go", "yeah"), ("ah", "oh", "hey", "ooh")


def ipa(syllable: str) -> str:
    """The syllable in the International Phonetic Alphabet."""
    if syllable in ENGLISH:
        return ENGLISH[syllable]
    onset, vowel, coda = re.fullmatch("([bcdghjklmnprst]*)([aeiouwy]+)([a-z]*)", syllable).groups()
    if onset in ("s", "ss") and vowel[0] in "iy":
        return "ɕ" + VOWELS[vowel] + CODAS[coda]
    return ONSETS[onset] + VOWELS[vowel] + CODAS[coda]


@cache
def syllables() -> tuple[str, ...]:
    """Every syllable that can be sung, in alphabetical order."""
    texts = (WORDS, *RHYMES.values(), *HOOKS, *CHANTS, *SHOUTS, *CHOPS)
    return tuple(sorted({syllable for text in texts for syllable in re.split("[ -]", text)}))


@cache
def _by_length(words: str) -> dict[int, list[tuple[str, ...]]]:
    """The words of a text as syllables, by how many they have."""
    by_length: dict[int, list[tuple[str, ...]]] = {}
    for word in words.split():
        by_length.setdefault(word.count("-") + 1, []).append(tuple(word.split("-")))
    return by_length


def line(n_syllables: int, rhyme: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Words of n_syllables in all, the last one of a key of RHYMES."""
    rhymes = _by_length(RHYMES[rhyme])
    fitting = sorted(n for n in rhymes if n <= n_syllables)[-2:]  # a word of one syllable hardly rhymes
    last = pick(rhymes[pick(fitting, rng)], rng)
    words, n_left = [], n_syllables - len(last)
    while n_left > 0:
        fitting = [n for n in _by_length(WORDS) if n <= n_left]
        words += pick(_by_length(WORDS)[pick([n for n in fitting if n > 1] or fitting, rng)], rng)
        n_left = n_syllables - len(last) - len(words)
    return (*words, *last)
