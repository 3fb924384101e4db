"""Which of several encodings of one byte a character a text was saved in, by the letters that languages write.

A text is of one language for the most part, and a language has few letters beyond ASCII. Read in a wrong encoding they
are letters still, but of no one language: Czech in Windows-1252 has those of Danish and of Italian side by side.
"""

from collections import Counter
from collections.abc import Mapping
from functools import cache

WESTERN = "cp1252"
_MANY = 0.01  # share of letters beyond ASCII, from which on a text is no English one with names from elsewhere
_FITS, _BETTER = 0.9, 0.05  # share of these letters that a language has, and by how much it has more than another one
_LANGUAGES = {
    WESTERN: (
        "àâæçèéêëîïôœùûüÿ",  # French
        "äöüß",  # German
        "áéíñóúü¡¿ºª",  # Spanish, Galician
        "áâãàçéêíóôõúüºª",  # Portuguese
        "àèéìíîòóùúºª",  # Italian
        "èéêëïóöü",  # Dutch
        "æøåéèêóòô",  # Danish, Norwegian
        "åäöéàüø",  # Swedish, Finnish
        "àçèéíïòóúüñ",  # Catalan
        "áæðéíóöúýþø",  # Icelandic, Faroese
        "õäöüšž",  # Estonian, Finnish
        "çë",  # Albanian
        "áéíóúàèìòù",  # Irish, Gaelic
    ),
    "cp1250": (
        "áčďéěíňóřšťúůýž",  # Czech
        "áäčďéíĺľňóôŕšťúýž",  # Slovak
        "ąćęłńóśźż",  # Polish
        "áéíóöőúüű",  # Hungarian
        "ăâîşţ",  # Romanian
        "čćđšž",  # Croatian, Slovene
    ),
    "cp1254": ("çğ\u0131iöşüâîû",),  # Turkish, whose capital with a dot is an i in lower case
    "cp1257": (
        "ąčęėįšųūž",  # Lithuanian
        "āčēģīķļņšūž",  # Latvian
    ),
}
_LANGUAGES["iso8859_2"] = _LANGUAGES["cp1250"]


def likelier(sample: bytes) -> str | None:
    """The encoding in which a sample is of one language where in Windows-1252 it is of none, if there is one."""
    counts = Counter(byte for byte in sample if byte > 127)
    letters = sum(65 <= byte <= 90 or 97 <= byte <= 122 for byte in sample)
    fits = {encoding: _fit(counts, encoding, letters) for encoding in _LANGUAGES if encoding != WESTERN}
    best = max(fits, key=lambda encoding: fits[encoding])
    return best if fits[best] else None


def _fit(counts: Mapping[int, int], encoding: str, letters: int) -> int:
    """How many bytes beyond ASCII are letters of one language; 0 where a Western one reads them as well."""
    read = {byte: (_letter(byte, encoding), _letter(byte, WESTERN)) for byte in counts}
    if all(other == western for other, western in read.values()):
        return 0  # perhaps of no one Western language, but there is nothing to ask
    chosen = {byte: counts[byte] for byte, (other, western) in read.items() if other.isalpha() or western.isalpha()}
    other, western = (
        max(sum(chosen[byte] for byte in chosen if read[byte][which] in alphabet) for alphabet in _LANGUAGES[name])
        for which, name in enumerate((encoding, WESTERN))
    )
    every = sum(chosen.values())
    return other if every > _MANY * letters and other >= _FITS * every and other - western >= _BETTER * every else 0


@cache
def _letter(byte: int, encoding: str) -> str:
    """The character of a byte in lower case; a blank of none."""
    return bytes([byte]).decode(encoding, "ignore").lower()[:1] or " "
