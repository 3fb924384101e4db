"""Windows-1252 is told from the encodings of other languages by the letters that a language has."""

import re
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path

import pytest

from sentiment_tune.data.alphabets import _LANGUAGES
from sentiment_tune.data.readers import Reading
from sentiment_tune.data.tables import read_table
from sentiment_tune.errors import InputError

WESTERN = {
    "English": (
        "It\u2019s a fine film, with a naïve hero in a café \u2013 \u201cgreat\u201d fun "
        "for £5, I\u2019d say.\n"
        "Dull and far too long; the cliché of a fiancé who never comes home, by Buñuel and Wenders of Köln.\n"
    ),
    "French": (
        "Un très beau film, les acteurs sont excellents et l\u2019histoire est émouvante "
        "du début à la fin, à ne pas manquer.\n"
        "Quel ennui, un scénario bâclé, des dialogues creux, je me suis endormi au bout "
        "d\u2019une demi-heure. Où est le cœur ?\n"
    ),
    "German": (
        "Ein großartiger Film, die Schauspieler sind überzeugend und die Musik ist schön.\n"
        "Fürchterlich langweilig, ich hätte das Kino am liebsten früher verlassen, schade ums Geld.\n"
    ),
    "Spanish": (
        "¡Qué película más bonita! Los actores están magníficos y la música es preciosa, "
        "volveré a verla mañana. ¿Y tú?\n"
        "Una pérdida de tiempo, el guión no tiene sentido y la dirección es pésima.\n"
    ),
    "Portuguese": (
        "Um filme maravilhoso, a atuação é ótima e a história não cansa, recomendo a todos.\n"
        "Muito chato, a direção é péssima e o final não faz sentido, não percam o vosso tempo.\n"
    ),
    "Italian": (
        "Un film bellissimo, gli attori sono bravissimi e la città è fotografata con amore, perché no?\n"
        "Noioso e troppo lungo, però la musica è carina, non lo consiglierei più a nessuno.\n"
    ),
    "Dutch": (
        "Een prachtige film, de acteurs zijn geweldig en het verhaal is ontroerend, één "
        "van de beste van dit jaar.\n"
        "Saai en veel te lang, ik ben in de pauze weggegaan, wat een reële "
        "teleurstelling; het idee is nog naïef ook.\n"
    ),
    "Danish": (
        "En fantastisk film, skuespillerne er gode, og musikken er smuk, jeg vil gerne "
        "se den igen, når den kommer på TV.\n"
        "Kedelig og alt for lang, jeg gik før den var færdig, ærgerligt, for bogen er så god.\n"
    ),
    "Irish": (
        "Scannán an-mhaith faoi Phoblacht na hÉireann, bhain mé an-taitneamh as an gceol.\n"
        "Ró-fhada agus leadránach, is breá leis an tÚdarás é, 3 \u00d7 4 uair.\n"
    ),
    "Swedish": (
        "En fantastisk film, skådespelarna är mycket bra och musiken är vacker, jag vill gärna se den igen.\n"
        "Tråkig och alldeles för lång, jag somnade före slutet, synd på så bra skådespelare.\n"
    ),
}


@pytest.mark.parametrize("language", WESTERN)
@pytest.mark.parametrize("change", [str, str.upper, lambda text: text * 300], ids=["few", "capitals", "many"])
def test_western_texts_in_windows_1252_are_read_without_asking(
    language: str, change: Callable[[str], str], tmp_path: Path
) -> None:
    text = change(WESTERN[language])
    (tmp_path / "a.txt").write_bytes(text.encode("cp1252"))
    table = read_table(tmp_path / "a.txt")
    assert [cell for (cell,) in table.rows] == text.splitlines()
    assert table.found == ("encoding Windows-1252",)


def test_all_western_languages_may_stand_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("".join(WESTERN.values()).encode("cp1252"))
    assert read_table(tmp_path / "a.txt").found == ("encoding Windows-1252",)


EASTERN = {
    "Czech": (
        "cp1250",
        "Film byl příšerný, herci špatní a děj nudný. Nejhorší věc, kterou jsem letos "
        "viděl, nikomu bych ji nedoporučil.\n"
        "Skvělý film, úžasná hudba a krásné záběry, určitě se na něj půjdu podívat znovu.\n",
    ),
    "Polish": (
        "cp1250",
        "Świetna gra aktorów, żółta okładka i łzy w oczach. Polecam każdemu, kto lubi dobre kino.\n"
        "Okropny film, nudny i za długi, nie polecam nikomu.\n",
    ),
    "Hungarian": (
        "cp1250",
        "Nagyon jó film volt, a színészek kiválóan játszottak, őszintén ajánlom mindenkinek.\n"
        "Szörnyű, unalmas történet, rossz rendezés, végig szenvedtem a mozi székében, űrhajó nélkül.\n",
    ),
    "Romanian": (
        "cp1250",
        "Un film foarte bun, cu actori buni şi o poveste frumoasă, îl recomand tuturor.\n"
        "Plictisitor şi prost făcut, nu merită văzut, am plecat după jumătate de oră.\n",
    ),
    "Croatian": (
        "cp1250",
        "Odličan film, glumci su izvrsni, a priča je uzbudljiva od početka do kraja, sviđa mi se.\n"
        "Loš film, dosadan i predugačak, žao mi je vremena koje sam potrošio.\n",
    ),
    "Slovak": (
        "cp1250",
        "Výborný film, herci hrajú skvele a príbeh je napínavý od začiatku až do konca, "
        "určite odporúčam všetkým.\n"
        "Hrozná nuda, ešte šťastie, že to trvalo len hodinu.\n",
    ),
    "Slovene": (
        "cp1250",
        "Odličen film, igralci so čudoviti in zgodba je napeta od začetka do konca, všeč mi je.\n"
        "Dolgčas, režija je slaba, žal mi je časa.\n",
    ),
    "Turkish": (
        "cp1254",
        "Film çok güzeldi, oyuncular harikayd\u0131, herkese tavsiye ederim, kesinlikle izleyin.\n"
        "Berbat bir film, çok s\u0131k\u0131c\u0131 ve uzun, hiç beğenmedim, param\u0131 "
        "geri istiyorum. İyi değil.\n",
    ),
    "Lithuanian": (
        "cp1257",
        "Puikus filmas, aktoriai vaidina nuostabiai, o muzika graži, būtinai žiūrėsiu dar kartą.\n"
        "Nuobodus ir per ilgas, gaila pinigų, šlykštu.\n",
    ),
    "Latvian": (
        "cp1257",
        "Lieliska filma, aktieri spēlē brīnišķīgi, un mūzika ir skaista, noteikti skatīšos vēlreiz.\n"
        "Garlaicīga un pārāk gara, žēl naudas.\n",
    ),
}


@pytest.mark.parametrize("language", EASTERN)
@pytest.mark.parametrize("change", [str, str.upper, lambda text: text * 300], ids=["few", "capitals", "many"])
def test_texts_that_another_encoding_reads_better_are_refused_with_both_readings(
    language: str, change: Callable[[str], str], tmp_path: Path
) -> None:
    encoding, text = EASTERN[language]
    text = change(text).encode(encoding, "ignore").decode(encoding)
    (tmp_path / "a.txt").write_bytes(b"plain first\n" + text.encode(encoding))
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / "a.txt")
    told = re.search(
        rf"line \d: .*--encoding {encoding} reads '(.+)'; --encoding cp1252 reads '(.+)'", str(caught.value)
    )
    assert told
    assert told[1] in text
    assert told[2] == told[1].encode(encoding).decode("cp1252", "replace") != told[1]
    assert read_table(tmp_path / "a.txt", Reading(encoding=encoding)).rows[1] == (text.splitlines()[0],)


@pytest.mark.parametrize("language", ["Czech", "Polish", "Hungarian"])
def test_of_two_encodings_of_a_language_the_right_one_is_shown(language: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(EASTERN[language][1].encode("iso8859_2"))
    with (
        pytest.raises(InputError, match=r"--encoding iso8859_2 reads")
        if language != "Hungarian"
        else pytest.raises(
            InputError,
            match=r"--encoding cp1250 reads",  # both read the same
        )
    ):
        read_table(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "alphabet"),
    [(name, alphabet) for name, alphabets in _LANGUAGES.items() for alphabet in alphabets],
)
def test_any_two_letters_of_a_language_are_read_or_asked_about(name: str, alphabet: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for one, other in combinations_with_replacement(alphabet.replace("i", "").encode(name), 2):
        for content in (bytes([one, other]), b"text\nwords a" + bytes([one]) + b"a and b" + bytes([other]) + b"\n"):
            path.write_bytes(content)
            try:
                said = ", ".join(read_table(path).found)
            except InputError as error:
                said = str(error)
            assert re.search(r"^encoding Windows-1252$|--encoding \w+ reads .*--encoding cp1252 reads", said)


def test_what_reads_the_same_is_not_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Ömer ve Lâle\n".encode("cp1254"))
    assert read_table(tmp_path / "a.txt").rows == [("Ömer ve Lâle",)]


def test_a_long_line_before_the_first_other_byte_decides_nothing(tmp_path: Path) -> None:
    text = '[{"text": "' + "plain " * 30_000 + '"}, {"text": "Фильм очень плохой, не смотрите"}]'
    (tmp_path / "a.json").write_bytes(text.encode("cp1251"))
    with pytest.raises(InputError, match="--encoding cp1251 reads 'Фильм"):
        read_table(tmp_path / "a.json")


@pytest.mark.parametrize(
    "text",
    ["\u201cA fine film.\u201d", "schöner Film", "voilà un film", "a film \u2014 good", "el último día", "well \u2026"],
)
def test_of_lines_as_a_mac_ends_them_mac_roman_is_asked_about(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(f"plain\r{text}\r".encode("mac_roman"))
    with pytest.raises(InputError, match=r"line 2: .*--encoding mac_roman reads "):
        read_table(tmp_path / "a.txt")
    assert read_table(tmp_path / "a.txt", Reading(encoding="mac_roman")).rows[1] == (text,)


def test_a_western_text_whose_lines_end_in_cr_is_read_where_a_mac_reads_no_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("plain\rün café naïf\r".encode("cp1252"))
    assert read_table(tmp_path / "a.txt").rows[1] == ("ün café naïf",)
