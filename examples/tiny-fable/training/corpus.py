"""The training corpus: chats that mix fables, additions and word reversals, and the questions held back from it.

Everything follows from a seed. Whether an addition or a word may be trained on follows from a hash of the addition or
the word itself, so training can never meet a held-back one, whatever the seed and the size of the corpus.

    python3 corpus.py --show 3            # print three conversations
    python3 corpus.py --held-back FILE    # write the held-back questions
"""

import argparse
import hashlib
import json
import pathlib
import random
from collections.abc import Iterator

import story_grammar

BOS, END, USER, ASSISTANT = "<|bos|>", "<|end|>", "<|user|>", "<|assistant|>"

LARGEST_ADDEND = 99
HELD_BACK_ADDITIONS_PERCENT = 10
HELD_BACK_WORDS_PERCENT = 25
WORD_LETTERS = (3, 6)  # shortest and longest word to reverse
WORDS = tuple(w.upper() for w in (pathlib.Path(__file__).parent / "words.txt").read_text().split())

ADDITION_QUESTIONS = ("What is {a} + {b}?", "How much is {a} + {b}?", "Add {a} and {b}.", "{a} + {b} = ?")
# Capitals are single tokens (see tokenizer.py): the model sees the letters that it is to reverse.
REVERSAL_QUESTIONS = ("Reverse the word {word}.", "Reverse {word}.", "Spell {word} backwards.")
STORY_REQUESTS = ("Tell me a story about {animal} and {thing}.", "Write a story about {animal} and {thing}.",
                  "Please tell me a story about {animal} and {thing}.", "Tell me a story about {animal}.",
                  "Tell me a story.")
SMALL_TALK = (
    ("Hello!", "Hello! Shall I tell you a story, add two numbers, or reverse a word?"),
    ("Hi", "Hello! Shall I tell you a story, add two numbers, or reverse a word?"),
    ("Who are you?", "I am Tiny Fable, a very small language model."),
    ("What is your name?", "My name is Tiny Fable."),
    ("What can you do?", "I can tell short stories, add numbers up to 99, and reverse short words in capital letters."),
    ("Thank you.", "You are welcome."),
    ("How are you?", "I am well, thank you. Shall I tell you a story?"),
    ("Goodbye.", "Goodbye, and come back for another story."),
)


def _percentile(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") % 100


def addition_is_held_back(a: int, b: int) -> bool:
    """The same for a + b and b + a."""
    return _percentile(f"{min(a, b)}+{max(a, b)}") < HELD_BACK_ADDITIONS_PERCENT


def word_is_held_back(word: str) -> bool:
    return _percentile(word) < HELD_BACK_WORDS_PERCENT


def addition(rng: random.Random, a: int, b: int) -> tuple[str, str]:
    return rng.choice(ADDITION_QUESTIONS).format(a=a, b=b), f"{a} + {b} = {a + b}."


def reversal(rng: random.Random, word: str) -> tuple[str, str]:
    return rng.choice(REVERSAL_QUESTIONS).format(word=word), word[::-1]


def made_up_word(rng: random.Random) -> str:
    """Consonants and vowels in turn: a word that one can say aloud, though no dictionary has it."""
    start = rng.randrange(2)
    return "".join(rng.choice(("BCDFGHJKLMNPQRSTVWXYZ", "AEIOU")[(start + i) % 2]) for i in range(rng.randint(*WORD_LETTERS)))


def _addition_turn(rng):
    while True:
        # One in four addends is drawn from the small numbers, which would be rare otherwise.
        a, b = (rng.randint(0, rng.choice((9, LARGEST_ADDEND, LARGEST_ADDEND, LARGEST_ADDEND))) for _ in range(2))
        if not addition_is_held_back(a, b):
            return addition(rng, a, b)


def _reversal_turn(rng):
    while True:
        kind = rng.random()
        if kind < 0.2:
            word = rng.choice(WORDS)
        elif kind < 0.6:
            word = made_up_word(rng)
        else:
            word = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.randint(*WORD_LETTERS)))
        if not word_is_held_back(word):
            return reversal(rng, word)


def _story_turns(rng):
    animal, thing = rng.choice(story_grammar.ANIMALS), rng.choice(story_grammar.THINGS)
    story = story_grammar.tell(rng, animal, thing)
    request = rng.choices(STORY_REQUESTS, weights=(6, 2, 2, 1, 1))[0]
    request = request.format(animal=story_grammar.with_article(animal), thing=story_grammar.with_article(thing))
    yield request, story.text
    while rng.random() < 0.4:
        yield story_grammar.ask_back(rng, story.cast)


def conversation(rng: random.Random) -> list[tuple[str, str]]:
    """(user, assistant) turns of one chat."""
    turns = []
    while True:
        kind = rng.random()
        if kind < 0.50:
            turns.append(_addition_turn(rng))
        elif kind < 0.86:
            turns.append(_reversal_turn(rng))
        elif kind < 0.97:
            turns.extend(_story_turns(rng))
        else:
            turns.append(rng.choice(SMALL_TALK))
        if rng.random() < 0.5:
            return turns


def render(turns: list[tuple[str, str]]) -> str:
    """The text that the chat template of the tokenizer makes of these turns."""
    return BOS + "".join(f"{USER}{user}{END}{ASSISTANT}{answer}{END}" for user, answer in turns)


def documents(seed: int) -> Iterator[str]:
    """Chats, and now and then a bare story, so that the model also continues plain text. Never ends."""
    rng = random.Random(seed)
    while True:
        if rng.random() < 0.04:
            story = story_grammar.tell(rng, rng.choice(story_grammar.ANIMALS), rng.choice(story_grammar.THINGS))
            yield BOS + story.text + END
        else:
            yield render(conversation(rng))


def held_back_questions(seed: int, each: int) -> list[dict[str, str]]:
    """`each` additions and `each` reversals that training never sees; at least half of the words are English."""
    rng = random.Random(seed)
    pairs = [(a, b) for a in range(LARGEST_ADDEND + 1) for b in range(LARGEST_ADDEND + 1) if addition_is_held_back(a, b)]
    words = rng.sample([w for w in sorted(set(WORDS)) if word_is_held_back(w)], each // 2)
    while len(words) < each:
        word = made_up_word(rng)
        if word_is_held_back(word) and word not in words:
            words.append(word)
    return [{"task": "addition", "prompt": p, "answer": a} for p, a in (addition(rng, *x) for x in rng.sample(pairs, each))] + \
           [{"task": "reversal", "prompt": p, "answer": a} for p, a in (reversal(rng, w) for w in words)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, metavar="N", help="print N documents of the corpus")
    parser.add_argument("--held-back", type=pathlib.Path, metavar="FILE", help="write 200 additions and 200 reversals")
    args = parser.parse_args()
    for _, document in zip(range(args.show or 0), documents(args.seed)):
        print(document, end="\n\n")
    if args.held_back:
        lines = ",\n".join(json.dumps(question) for question in held_back_questions(args.seed, 200))
        args.held_back.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
