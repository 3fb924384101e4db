"""A generated corpus of film reviews, so that a tuning can be tried without any download.

`reviews` writes 2,000 reviews to train on and 500 to test on, 15 to 150 words long, half of each part labelled 1
(positive), the same on every machine. The text is our own: sentences come from the hand-written grammar below, where a
rule listed more often is used more often. A review states its polarity three to six times, each time in one of these
ways:

* plainly: "the plot is clever";
* negated, which turns the whole clause over: "nobody could call the plot dull".

Next to these statements stand words that do not count, though they are the same words:

* the conceded side of a contrast, of the other polarity: what stands before "but", or behind "although", "though",
  "even if" or "despite" up to the comma or the full stop ("the plot looked clever, but the acting is not fresh");
* hearsay, of either polarity: what was expected, or what others said ("some critics called it dull").

Intensifiers and hedges ("really", "fairly") change no polarity, and neutral sentences about story, cast and evening
fill the review up. All that counts in a review agrees, so reading in order always tells its polarity.

Exactly 3 % of the labels of each part are wrong on purpose, spread over both classes. The best possible accuracy is
therefore 0.97: whoever reads every review correctly is right on 485 of the 500 test reviews. Counting words (logistic
regression on which words occur) gets to 0.85, on which runs of up to three words occur to 0.93 (weighted by the log of
their class ratio), a small convolutional network to 0.95 and a small GRU to 0.97.
"""

import re
from random import Random

TRAIN, TEST, SHORTEST, LONGEST = 2_000, 500, 15, 150
WRONG_PER_HUNDRED = 3
BEST_ACCURACY = 1 - WRONG_PER_HUNDRED / 100


def _words(listed: str) -> tuple[str, ...]:
    return tuple(listed.split(", "))


GOOD = _words(
    "clever, moving, charming, fresh, elegant, sharp, vivid, witty, thrilling, graceful, engaging, inventive, "
    "memorable, rich, tender, convincing, delightful, lively, compelling, warm, bold, funny, gripping, impressive"
)
BAD = _words(
    "dull, clumsy, tired, flat, bland, tedious, shallow, lazy, weak, forced, hollow, messy, boring, lifeless, silly, "
    "stale, wooden, muddled, predictable, annoying, tiresome, pointless, awkward, dreary"
)

# {name} is replaced by a rule of that name, {+name} by one of the review's polarity, {-name} by one of the other.
_GRAMMAR: dict[str, tuple[str, ...]] = {
    "word0": BAD,
    "word1": GOOD,
    "opinion": (
        *["{+clause}."] * 10,
        "in the end, {+clause}.",
        "all in all, {+clause}.",
        *["{+contrast}."] * 3,
        "{-hearsay}. {+clause}.",
        "{+hearsay}. {+clause}.",
    ),
    "clause": (*["{+plain}"] * 17, *["{+negated}"] * 3),
    "plain": (
        *["the {aspect} is {+phrase}"] * 2,
        "the {aspect} is {+phrase} throughout",
        "the {aspect} feels {+phrase}",
        "I found the {aspect} {+phrase}",
        "the {+word} {aspect} sets the tone",
        "the {+word} {aspect} is what I will remember",
        "it is a {+phrase} {film}",
        "this is a {+phrase} {film} about {topic}",
        "{name} gives a {+phrase} performance",
    ),
    "negated": (
        *["the {aspect} is not {+claim}"] * 3,
        *["the {aspect} is never {+claim}"] * 3,
        *["the {aspect} is hardly {+claim}"] * 2,
        *["the {aspect} is far from {-word}"] * 2,
        *["there is nothing {-word} about the {aspect}"] * 2,
        "the {aspect} is anything but {-word}",
        "the {aspect} is neither {-word} nor {-word}",
        "this is hardly a {-word} {film}",
        "it is by no means a {-word} {film}",
        "I never found the {aspect} {-word}",
        "nobody could call the {aspect} {-word}",
        "I do not think that the {aspect} is {-word}",
    ),
    "claim": (*["{-word}"] * 4, "really {-word}", "particularly {-word}"),
    "phrase": (*["{+word}"] * 4, *["{degree} {+word}"] * 3, "{+word} and {+word}"),
    "degree": _words("very, really, truly, somewhat, rather, fairly, remarkably, surprisingly, thoroughly"),
    "contrast": (
        *["the {aspect} looked {-word}, but {+clause}"] * 2,
        *["the {aspect} sounded {-word}, but {+clause}"] * 2,
        "the first {number} minutes felt {-phrase}, but {+clause}",
        *["despite the {-word} {aspect}, {+clause}"] * 2,
        *["{+clause} despite the {-word} {aspect}"] * 2,
        "{-clause}, but {+clause}",
        "although {-clause}, {+clause}",
        "even if {-clause}, {+clause}",
        "{+clause}, though {-clause}",
    ),
    "hearsay": (
        "I expected a {+phrase} {film}",
        "the trailer suggested a {+phrase} {film}",
        "some critics called it {+phrase}",
        "my {relative} told me that it would be {+phrase}",
        "I had read that the {aspect} was {+phrase}",
        "friends had described the {aspect} as {+phrase}",
    ),
    "neutral": (
        "{name} plays a {job} who {quest}.",
        "the story follows a {job} and a {job} in {place}.",
        "when a {job} comes home to {place}, an old letter turns up.",
        "it was shot in {place} within {number} weeks.",
        "the second half takes us to {place}, where {name} {quest}.",
        "the film lasts an hour and {number} minutes.",
        "I saw it {occasion} with my {relative}.",
        "we went {occasion} and sat in row {number}.",
        "there are {number} songs in it, most of them about {topic}.",
        "{name} wrote the book on which the film is based.",
        "as the title says, it deals with {topic} and {topic}.",
        "the director has made {number} films about {topic} so far.",
        "{name} and {name} share most of the scenes as a {job} and a {job}.",
        "in the last scene a {job} {quest}.",
    ),
    "aspect": _words(
        "plot, acting, score, pacing, dialogue, camerawork, script, editing, romance, villain, humour, narration, "
        "casting, middle act, main character, supporting cast, sound design, lead performance"
    ),
    "film": _words("film, movie, picture, drama, comedy, thriller, story, debut, sequel"),
    "name": _words(
        "Marta, Ivo, Celia, Anselm, Rosa, Tobin, Greta, Piers, Nadia, Osric, Lene, Hugo, Yara, Emil, Farah, Colm"
    ),
    "job": _words("baker, teacher, sailor, detective, nurse, farmer, pianist, lawyer, widow, soldier, painter, clerk"),
    "place": _words("Lisbon, a small town, the mountains, Oslo, a harbour, a hotel, the desert, Cardiff, Rome"),
    "topic": _words("family, money, the war, music, growing old, trust, work, memory, the sea, school"),
    "number": _words("five, six, seven, eight, ten, twelve, fifteen, twenty"),
    "occasion": _words("on Sunday, last night, at a festival, in the afternoon, on a plane, after work"),
    "relative": _words("sister, brother, father, aunt, neighbour, cousin, daughter, grandmother"),
    "quest": _words(
        "searches for a lost brother, buys an empty house, finds a bag of money, has to leave by morning, writes "
        "letters to a stranger, takes over a theatre, waits for a train, learns to sing, hides from the police"
    ),
}


class _Author:
    """Writes reviews by the grammar, dealing its rules like cards, so that a review seldom says a thing twice."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self._decks: dict[str, list[str]] = {}

    def review(self, label: int) -> str:
        """One review of the polarity `label`."""
        sentences = [self._write("opinion", label) for _ in range(self.rng.randrange(3, 7))]
        words = self.rng.randrange(SHORTEST, LONGEST - 20)
        while len(" ".join(sentences).split()) < words:
            sentences.insert(self.rng.randrange(len(sentences) + 1), self._write("neutral", label))
        text = re.sub(r"\ba(?= [aeiou])", "an", " ".join(sentences))
        return re.sub(r"(^|\. )([a-z])", lambda start: start[1] + start[2].upper(), text)

    def _write(self, name: str, label: int) -> str:
        rule = self._deal(name, label)
        return re.sub(r"{([+-]?)(\w+)}", lambda slot: self._write(slot[2], label ^ (slot[1] == "-")), rule)

    def _deal(self, name: str, label: int) -> str:
        """The top card of a rule's deck; it goes back into the lower half, so that it does not come up again soon."""
        rules = f"{name}{label}" if name == "word" else name
        if rules not in self._decks:
            self._decks[rules] = list(_GRAMMAR[rules])
            self.rng.shuffle(self._decks[rules])
        deck = self._decks[rules]
        card = deck.pop()
        deck.insert(self.rng.randrange(len(deck) // 2 + 1), card)
        return card


def reviews() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The reviews to train on (2,000) and to test on (500), each with its label: 0 negative, 1 positive."""
    author = _Author(seed=4)
    return _part(author, TRAIN), _part(author, TEST)


def _part(author: _Author, size: int) -> list[tuple[str, int]]:
    """`size` reviews in mixed order, the labels balanced and the first few of them wrong."""
    wrong = size * WRONG_PER_HUNDRED // 100
    part = [(author.review(number % 2 ^ (number < wrong)), number % 2) for number in range(size)]
    author.rng.shuffle(part)
    return part
