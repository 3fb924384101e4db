"""Texts in UTF-8 that were read as Windows-1252 are told from correct ones."""

import codecs

import pytest

from sentiment_tune.data.mojibake import is_mojibake

CORRECT = [
    "plain",
    "It\u2019s a \u201cfine\u201d film\u2026 \u2013 café \u20ac 5",
    "amanhã\u00a0de manhã, «irmã»",
    "MANHÃ\u00a0 \u201cIRMÃ\u201d",
    "«\u00a0un bel été\u00a0», là\u00a0», déjà\u00a0!",
    "AU CAFÉ\u00a0! \u201cCAFÉ\u201d CAFÉ\u2026 BEYONCÉ\u2019S NESCAFÉ® CAFÉ\u2014THE",
    "\u201eDas macht Spaß\u201c, sagte er. So groß\u2026 Strauß\u2019s Gruß\u2013",
    "\u201eÜber Ära und Öl\u201c",
    "¿Qué pasó? ¡Ósmosis! ESPAÑ\u2026",
    "PIÙ\u2026 CITTÀ\u201d PERÒ\u2026 È\u201d",
    "fiancé\u2014he said \u201ccafé\u201d\u2026",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!",
    "とても良い映画",
    "zażółć gęślą jaźń",
    "Tiếng Việt",
    "😀 fine",
]
MISREAD = [
    "Über Ära groß",
    "\u041f\u0440\u0438\u0432\u0435\u0442",
    "\u0420\u043e\u0441\u0441\u0438\u044f",
    "café",
    "voilà tout",
    "Österreich",
    "it\u2019s",
    "5 \u20ac",
    "© 1999",
    "😂",
    "你好",
    "Việt",
    "roșu",
    "καλό",
    "İstanbul",
    "glębia",
    "a\u00a0b",
]


def misread(text: str) -> str:
    """UTF-8 read as Windows-1252 by a reader that keeps the bytes that are left out there."""
    codecs.register_error("kept", lambda error: (chr(error.object[error.start]), error.end))  # type: ignore[attr-defined]
    return text.encode().decode("cp1252", "kept")


@pytest.mark.parametrize("text", CORRECT)
def test_a_correct_text_is_none(text: str) -> None:
    assert not is_mojibake(text)


@pytest.mark.parametrize("text", MISREAD)
@pytest.mark.parametrize("words", ["{}", "so {} it is", "({})"])
def test_a_misread_one_is_one(text: str, words: str) -> None:
    assert is_mojibake(misread(words.format(text)))


def test_what_was_lost_or_folded_afterwards_is_one_too() -> None:
    assert is_mojibake("caf\ufffd")
    assert is_mojibake(misread("café").lower())
