"""The rules by which words are found: what each makes of what people write, and that nothing else depends on it."""

# ruff: noqa: RUF001 - characters that look like others are what is read here

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from sentiment_tune import resumption
from sentiment_tune.config import ExperimentConfig, read_settings
from sentiment_tune.data import sample
from sentiment_tune.data.imdb import AUTO, RANDOM
from sentiment_tune.data.load import DataConfig, load, load_texts
from sentiment_tune.data.rules import _WORDS, _WORDS_AND_MARKS, KERAS, MARKS, PUNCTUATION, RULES, UNICODE
from sentiment_tune.data.store import store_folder, store_key
from sentiment_tune.data.tables import write_table
from sentiment_tune.data.text import Tally, Vocabulary, split
from sentiment_tune.errors import InputError
from sentiment_tune.inference.package import ModelPackage
from sentiment_tune.tracking import records
from sentiment_tune.tracking.schema import Tag
from support import ask, runs

NEW = pytest.mark.parametrize("rule", [UNICODE, PUNCTUATION])
# What separates, joins, escapes or combines, of which odd texts are made.
_SEEN = """don't ’ ' '' ` ´ “ <br|/> <br/><br/> <a|href='x'> < > & &amp; &quot; &#39; &lt;br&gt; &amp;#39;
é ﬁ Ａ ！ 。 ß İ ς 👍🏽 🇩🇪 ❤️ ★ 映画 ガ ｶﾞ หนัง ຮູບ ភាព ရုပ် हिन्दी 영화 a Film 3.5 ... :) ™"""
_UNSEEN = "\u0301\u00ad\u200b\u200c\u200d\ufe0f\u00a0\u3000\x85\n\ud800\x1f "
PIECES = [*(one.replace("|", " ") for one in _SEEN.split()), *_UNSEEN, "e\u0301", "👩\u200d👩"]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(st.characters(exclude_categories=())))).map("".join)


@NEW
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A\u00a0fine\u2003film\u3000in\u2028all\x85ways\x1fgood", "a fine film in all ways good"),
        ("“lovely” „Film‟ «bon» ‘so’", "lovely film bon so"),
        ("don’t don't don`t don´t donʼt don＇t", "don't don't don't don't don't don't"),
        ("'quoted' rock 'n' roll dogs' ''tis''", "quoted rock n roll dogs tis"),
        ("café cafe\u0301 CAFÉ ｃａｆé", "café café café café"),
        ("Ｆｉｎｅ ﬁne STRASSE straße ΣΑΣ σας", "fine fine strasse strasse σασ σασ"),
        ('good<br /><br/>bad<BR>so <a href="x y">link</a> <p class=q>', "good bad so link"),
        ("I <3 it <sigh> 5<6 a<b and c>d", "i 3 it sigh 5 6 a b and c d"),
        (
            "it&#39;s &amp;#39;s caf&eacute; &lt;br /&gt; R&amp;D &nbsp; &#x41; &none; AT&T",
            "it's s café r d a none at t",
        ),
        ("soft\u00adhy\u200bphen \ufeffa\u200db", "softhy phen ab"),
        ("5★ $5 50% @you #good well-made __x__ Disney™", "5 ★ 5 50 you good well made x disney"),
        ("great👍👍🏽 ❤️❤ 👩\u200d❤️\u200d👨🇩🇪🇫🇷👩\u200da", "great 👍 👍🏽 ❤ ❤ 👩\u200d❤\u200d👨 🇩🇪 🇫🇷 👩 a"),
        ("映画はABC映画123 ｶﾞ ガ", "映 画 は abc 映 画 123 ガ ガ"),
        ("หนังดี ๒๕ ຮູບ ភាព ရုပ်", "ห นั ง ดี ๒๕ ຮູ ບ ភា ព ရု ပ်"),
        ("हिन्दी फ़िल्म 영화가 می\u200cخواهم фильм", "हिन्दी फ़िल्म 영화가 میخواهم фильм"),
        ("\ud800 \udfff", ""),
        ("", ""),
    ],
)
def test_what_people_write_is_read_as_words(text: str, words: str, rule: str) -> None:
    read = [word for word in split(text, rule) if word not in MARKS]
    assert read == [unicodedata.normalize("NFKC", word) for word in words.split()]


def test_marks_are_words_where_they_are_asked_for() -> None:
    text = 'So, "good". (Really?) Yes; no: no!... “ja” だ。'
    assert " ".join(split(text, PUNCTUATION)) == 'so , " good " . ( really ? ) yes ; no : no ! . . . " ja " だ .'
    assert [word for word in split(text, PUNCTUATION) if word not in MARKS] == split(text, UNICODE)


@NEW
@given(text=TEXTS)
def test_both_forms_of_accents_and_both_cases_are_the_same_words(text: str, rule: str) -> None:
    # Escaped, a form is a matter of the letters of an entity.
    text = text.replace("&", " ").replace("\u00b4", " ")
    read = split(text, rule)
    for form in ("NFC", "NFD"):
        assert split(unicodedata.normalize(form, text), rule) == read


@NEW
def test_a_long_text_is_read_as_its_parts_are(rule: str) -> None:
    part, odd = "café cafe\u0301 ｶﾞ映画 <br /> it’s ", "a" + "\u0301\u0316" * 2000
    assert split(part * 300, rule) == split(part, rule) * 300
    assert split(f"{odd} {part}", rule)[1:] == split(part, rule)


@given(text=TEXTS | st.text(st.characters(exclude_categories=())))
def test_characters_are_changed_one_by_one(text: str) -> None:
    for characters in (_WORDS, _WORDS_AND_MARKS):
        assert characters.change(text) == text.translate(characters)


@NEW
@given(text=TEXTS)
def test_a_word_is_read_as_itself_and_holds_nothing_that_separates(text: str, rule: str) -> None:
    for word in split(text, rule):
        assert split(word, rule) == [word]
        assert word in MARKS or not any(map(separates, word))


def separates(character: str) -> bool:
    """Whether nothing that holds it is a word; what has no meaning yet may be an emoji of a later Unicode."""
    category = unicodedata.category(character)
    return category[0] in "ZC" and category != "Cn" and character != "\u200d"


@pytest.mark.parametrize("rule", RULES)
@given(texts=st.lists(TEXTS, max_size=12))
def test_in_bulk_texts_have_the_ids_and_the_count_that_each_has_alone(texts: list[str], rule: str) -> None:
    listed = Vocabulary.of(PIECES[::2], rule).words
    vocabulary = Vocabulary(["", *listed], rule)
    written = [split(text, rule) for text in texts]
    expected = [[1, *(3 + vocabulary.words.index(word) for word in words if word in listed)] for words in written]
    for many in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sentiment_tune.data.text._MANY", many)
            tally = Tally()
            ids = [one.tolist() for one in vocabulary.encode_all(iter(texts), tally)]
        assert ids == expected == [vocabulary.encode(text) for text in texts]
        counts = [(len(words), len(found) - 1) for words, found in zip(written, expected, strict=True)]
        strange = sum(known * 4 < words for words, known in counts)
        assert tally == Tally(len(texts), sum(one for one, _ in counts), sum(one for _, one in counts), strange)


# ---- accuracy where Keras' rule reads a sentence as one word

SCRIPTS = {  # letters, and two words, one of each class
    "Chinese": ("的一是不了在有这个中大来上国和地到说时要", "精彩", "糟糕"),
    "Japanese": ("のにはをたがでてとしれさあいうえおカキクケコサシ", "面白い", "つまらな"),
    "Thai": ("กขคงจฉชซญดตถทธนบปผพฟมยรลวสหอ", "สนุก", "น่าเบื่อ"),
    "Lao": ("ກຂຄງຈຊຍດຕຖທນບປຜພຟມຢຣລວສຫອ", "ມ່ວນ", "ໜ້າເບື່ອ"),
    "Khmer": ("កខគឃងចឆជឈញដឋឌឍណតថទធនបផពភមយរលវសហឡអ", "ល្អណាស់", "អាក្រក់"),
    "Burmese": ("ကခဂဃငစဆဇဈညတထဒဓနပဖဗဘမယရလဝသဟအ", "ကောင်းတယ်", "ပျင်းစရာ"),
}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_without_blanks_are_learned(script: str, tmp_path: Path) -> None:
    letters, *spoken = SCRIPTS[script]
    chance = np.random.default_rng(7)

    def text(label: int) -> str:
        before, after = ("".join(chance.choice(list(letters), 12)) for _ in range(2))
        return before + spoken[label] + after

    labels = [row % 2 for row in range(400)]
    texts = [text(label) for label in labels]
    accuracy = {}
    for rule in (KERAS, UNICODE):
        corpus = load_texts(texts, labels, tmp_path, DataConfig(text_rule=rule))
        count = CountVectorizer(analyzer=lambda text, rule=rule: split(text, rule), ngram_range=(1, 1))
        features = count.fit_transform(texts[:300])
        model = MultinomialNB().fit(features, labels[:300])
        accuracy[rule] = model.score(count.transform(texts[300:]), labels[300:])
        assert (corpus.vocabulary.rule, len(corpus.train) > 250) == (rule, True)
    assert accuracy[KERAS] < 0.65
    assert accuracy[UNICODE] > 0.9


# ---- where the rule goes


def rows(tmp_path: Path) -> Path:
    texts = [f"It’s\u00a0{'lovely' if row % 2 else 'dreadful'}!<br />Number\u00a0{row % 7}" for row in range(200)]
    write_table(tmp_path / "a.csv", ["text", "label"], [[text, row % 2] for row, text in enumerate(texts)])
    return tmp_path / "a.csv"


def test_another_rule_is_another_store_and_that_of_keras_is_the_one_of_before(tmp_path: Path) -> None:
    path, cache = str(rows(tmp_path)), tmp_path / "cache"
    corpora = [load(DataConfig(path, text_rule=rule), cache) for rule in (*RULES, None)]
    assert [corpus.vocabulary.rule for corpus in corpora] == [*RULES, UNICODE]
    assert len({corpus.digest for corpus in corpora}) == len(RULES) == len([*cache.glob("*/about.json")])
    load(DataConfig("sample", text_rule=KERAS), cache)
    assert (store_folder(store_key("sample", *sample.reviews()), cache) / "about.json").is_file()


def test_the_sample_has_the_same_ids_by_keras_rule_and_by_the_default(tmp_path: Path) -> None:
    by_keras, by_default = (load(DataConfig("sample", text_rule=rule), tmp_path) for rule in (KERAS, None))
    assert (by_keras.digest, by_default.vocabulary.rule) == (by_default.digest, UNICODE)


def test_a_rule_that_is_none_is_refused_and_another_than_keras_for_ids(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text_rule 'kears'; did you mean 'keras'"):
        DataConfig(text_rule="kears")
    with pytest.raises(InputError, match="text_rule cannot be 5: give a text"):
        ExperimentConfig.of("linear", {"text_rule": 5})
    for data in ("imdb",):
        with pytest.raises(InputError, match=f"text_rule cannot be 'unicode' for {data}, whose reviews are ids"):
            load(DataConfig(data, text_rule=UNICODE), tmp_path)
    assert "text_rule" in ask("train", "--text-rule", "words", "--data", "sample").refusal


@pytest.mark.slow
def test_a_run_has_the_rule_its_model_reads_by_it_and_its_settings_repeat_it(here: Path) -> None:
    rows(here)
    words = ("--model", "linear", "--epochs", "1", "--data", "a.csv", "--text-rule", PUNCTUATION)
    assert ask("train", *words).code == 0
    address = f"sqlite:///{here}/mlflow.db"
    (run,) = runs(address)
    assert run.data.params["text_rule"] == PUNCTUATION
    assert f"--text-rule {PUNCTUATION}" in run.data.tags["mlflow.note.content"]
    package = loaded(run.info.run_id)
    assert (package.vocabulary.rule, "!" in package.vocabulary.words) == (PUNCTUATION, True)
    assert ask("train", "--settings", f"{run.info.artifact_uri}/settings.json").code == 0
    again = runs(address)[0]
    assert again.data.metrics["test_accuracy"] == run.data.metrics["test_accuracy"]
    assert again.data.tags["data_digest"] == run.data.tags["data_digest"]


def loaded(run_id: str) -> ModelPackage:
    from sentiment_tune.tracking import logged_models

    return logged_models.load(records.logged_model_uri(run_id))


def test_settings_of_a_run_of_before_there_were_choices_mean_what_they_meant(tmp_path: Path) -> None:
    before = {**ExperimentConfig.of("linear", {"data": "a.csv"}).as_dict}
    del before["text_rule"], before["validation"]
    for name, settings, rule in (
        ("run", before, KERAS),
        ("new", {**before, "text_rule": UNICODE}, UNICODE),
        ("own", {"model": "linear", "data": "a.csv"}, None),
    ):
        (tmp_path / name).write_text(json.dumps(settings))
        read = read_settings(tmp_path / name)
        data = ExperimentConfig.of(str(read.pop("model")), read).data
        assert (data.text_rule, data.validation) == (rule, AUTO if rule is None else RANDOM)
        if rule is not None:
            interrupted = records.RunRecord("1", "a run", "KILLED", 0, {}, {}, {Tag.SETTINGS: json.dumps(settings)})
            resumed = resumption._settings_of(interrupted)
            assert (resumed["text_rule"], resumed["validation"]) == (rule, RANDOM)
