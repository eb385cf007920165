"""A small grammar of fables: who, what, where, and ten plots that keep their facts straight.

`tell(rng, animal, thing)` returns a Story: the text and the facts that a follow-up question may ask for.
"""

import dataclasses
import random
import zlib

ANIMALS = ("badger bear beaver crow deer dog duck fox frog goat goose hare hedgehog horse lamb mole mouse otter owl "
           "pony rabbit robin squirrel swan toad turtle wolf wren").split()
THINGS = ("acorn basket bell blanket book box button candle clock coin compass cup drum feather flute hat jar kettle "
          "key kite lantern map marble mirror pie pumpkin ribbon scarf shell spoon stone umbrella wheel whistle").split()
NAMES = {
    "he": "Otto Finn Bruno Pip Hugo Tom Emil Jonas Basil Milo Nils Oscar Rufus Theo Walter Ben".split(),
    "she": "Mira Clara Hazel Ida Juna Lotte Nora Olive Poppy Rosa Tilda Vera Wilma Anna Elsa Greta".split(),
}
HIS = {"he": "his", "she": "her"}
HIM = {"he": "him", "she": "her"}
TEMPERS = "young old clever shy brave curious gentle cheerful patient quiet".split()
HOMES = ("in an old orchard", "by a quiet river", "on a green hill", "near the stone bridge", "at the edge of the forest",
         "under a tall oak", "beside the mill", "close to the lighthouse", "in a sunny meadow", "behind the village school",
         "by a round pond", "in a garden full of roses")
HIDING_PLACES = ("under a heap of leaves", "behind a fallen log", "between two roots", "in the tall grass",
                 "at the bottom of a ditch", "under the bench by the well", "next to the mushrooms", "inside a hollow tree")
TREATS = ("warm bread", "blackberry jam", "apple cake", "honey biscuits", "pea soup", "hot chestnuts", "plum tea")
MORNINGS = ("One morning", "One windy day", "One autumn evening", "On the first day of spring", "One rainy afternoon",
            "Early one Sunday")


@dataclasses.dataclass
class Cast:
    animal: str
    thing: str
    name: str
    he: str
    friend: str
    friend_name: str
    friend_he: str
    home: str


@dataclasses.dataclass
class Story:
    text: str
    cast: Cast


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _plot_lost(c, rng, when):
    where = rng.choice(HIDING_PLACES)
    return [
        f"{when}, {c.name} could not find {HIS[c.he]} {c.thing} anywhere.",
        rng.choice([f"{c.he.capitalize()} looked in every room and even in the chimney.",
                    f"{c.he.capitalize()} looked under the bed and behind the door, but it was gone."]),
        f"{c.friend_name} the {c.friend} heard {HIM[c.he]} sigh and came to help.",
        f"Together they walked back the way {c.name} had come, and there was the {c.thing}, {where}.",
        rng.choice([f"\"Four eyes see more than two,\" said {c.friend_name}.",
                    f"\"Thank you,\" said {c.name}. \"Alone I would have given up.\""]),
    ]


def _plot_gift(c, rng, when):
    treat = rng.choice(TREATS)
    return [
        f"{when}, {c.name} remembered that it was the birthday of {c.friend_name} the {c.friend}.",
        f"{c.he.capitalize()} had no money, but {c.he} had {with_article(c.thing)} that {c.he} loved very much.",
        f"{c.name} cleaned the {c.thing} until it looked like new and carried it over.",
        f"{c.friend_name} was so happy that {c.friend_he} danced around the table.",
        f"Then the two friends shared {treat}, and the {c.thing} stood between them in the place of honour.",
    ]


def _plot_stuck(c, rng, when):
    return [
        f"{when}, a strong wind took the {c.thing} and left it high up in a tree.",
        f"{c.name} jumped and jumped, but {c.he} could not reach it.",
        f"{c.friend_name} the {c.friend} came by and looked up too.",
        rng.choice([f"\"Stand on my shoulders,\" said {c.friend_name}.",
                    f"\"You are small and I am smaller, but together we are tall,\" said {c.friend_name}."]),
        f"{c.name} climbed up, stretched as far as {c.he} could, and caught the {c.thing}.",
        "They both fell into the soft grass and laughed.",
    ]


def _plot_share(c, rng, when):
    return [
        f"{when}, {c.name} and {c.friend_name} the {c.friend} found {with_article(c.thing)} on the path at the same moment.",
        f"\"It is mine,\" said {c.name}. \"No, it is mine,\" said {c.friend_name}.",
        rng.choice(["They argued until the sun went down and nobody was happy.",
                    "They pulled on it from both sides until they were tired."]),
        f"At last {c.name} said, \"You may have the {c.thing} today, and I will have it tomorrow.\"",
        "So they took turns, and after a week they had forgotten why they had argued at all.",
    ]


def _plot_storm(c, rng, when):
    treat = rng.choice(TREATS)
    return [
        f"{when}, black clouds came over the hills and it began to storm.",
        f"{c.name} sat at home with {HIS[c.he]} {c.thing} and listened to the thunder.",
        f"Then somebody knocked: it was {c.friend_name} the {c.friend}, wet from head to tail.",
        f"{c.name} put the {c.thing} away, lit the fire, and made {treat} for two.",
        f"When the storm was over, {c.friend_name} said, \"I will not forget your open door.\"",
    ]


def _plot_owner(c, rng, when):
    treat = rng.choice(TREATS)
    return [
        f"{when}, {c.name} found {with_article(c.thing)} in the middle of the road.",
        f"{c.he.capitalize()} wanted to keep it, but somebody was surely looking for it.",
        f"{c.name} went from house to house and asked, until {c.he} came to {c.friend_name} the {c.friend}.",
        f"\"My {c.thing}!\" cried {c.friend_name}. \"I have missed it for three days.\"",
        f"{c.friend_name} thanked {HIM[c.he]} with {treat}, and {c.name} walked home with a light heart.",
    ]


def _plot_mend(c, rng, when):
    tool = rng.choice(["a needle and a thread", "a little glue", "a hammer and two nails", "some string"])
    return [
        f"{when}, the {c.thing} of {c.friend_name} the {c.friend} broke in two.",
        f"{c.friend_name} wanted to throw it away, but {c.name} said, \"Give it to me until tomorrow.\"",
        f"All night {c.he} worked with {tool}.",
        f"In the morning the {c.thing} was whole again, and only a thin line showed where it had been broken.",
        f"\"Now I like it even more,\" said {c.friend_name}, \"because you mended it.\"",
    ]


def _plot_fair(c, rng, when):
    return [
        f"{when}, there was a fair in the village, and everybody was asked to bring something.",
        f"{c.name} had only {with_article(c.thing)}, and {c.he} was afraid that the others would laugh.",
        f"\"Come with me,\" said {c.friend_name} the {c.friend}. \"I will stand next to you.\"",
        f"When {c.name} showed the {c.thing}, the whole village became quiet and then clapped.",
        f"That evening {c.he} carried it home and was not afraid any more.",
    ]


def _plot_secret(c, rng, when):
    where = rng.choice(HIDING_PLACES)
    return [
        f"{when}, {c.name} hid {HIS[c.he]} {c.thing} {where}, so that nobody could take it.",
        f"Every day {c.he} went there alone to look at it, and every day {c.he} felt a little more lonely.",
        f"At last {c.he} told the secret to {c.friend_name} the {c.friend}.",
        f"\"What a fine {c.thing},\" said {c.friend_name}. \"Shall we play with it together?\"",
        f"From then on the {c.thing} stood on the table, and {c.name} was never lonely again.",
    ]


def _plot_race(c, rng, when):
    return [
        f"{when}, {c.name} and {c.friend_name} the {c.friend} ran a race, and the prize was {with_article(c.thing)}.",
        f"{c.name} was faster and was soon far in front.",
        f"Then {c.he} heard a cry: {c.friend_name} had fallen into the brook.",
        f"{c.name} turned around at once, pulled {HIM[c.friend_he]} out, and so nobody won the race.",
        f"The judges gave them the {c.thing} together, because a good friend is worth more than a first place.",
    ]


PLOTS = (_plot_lost, _plot_gift, _plot_stuck, _plot_share, _plot_storm, _plot_owner, _plot_mend, _plot_fair, _plot_secret,
         _plot_race)


def _choose(rng: random.Random, options, key: str):
    """Any option, but four times in ten the one that belongs to `key`: so the likeliest story differs by request."""
    return options[zlib.crc32(key.encode()) % len(options)] if rng.random() < 0.4 else rng.choice(options)


def tell(rng: random.Random, animal: str, thing: str) -> Story:
    people = [(name, he) for he, names in NAMES.items() for name in names]
    name, he = _choose(rng, people, animal)
    friend = _choose(rng, [a for a in ANIMALS if a != animal], thing)
    friend_name, friend_he = _choose(rng, [p for p in people if p[0] != name], friend)
    cast = Cast(animal, thing, name, he, friend, friend_name, friend_he, _choose(rng, HOMES, animal))
    hero = with_article(f"{_choose(rng, TEMPERS, animal)} {animal}")
    opening = rng.choice([f"Once upon a time, {hero} called {name} lived {cast.home}.",
                          f"There was once {hero} called {name} who lived {cast.home}."])
    plot, when = _choose(rng, PLOTS, thing), _choose(rng, MORNINGS, thing)
    return Story(" ".join([opening, *plot(cast, rng, when)]), cast)


def ask_back(rng: random.Random, c: Cast) -> tuple[str, str]:
    """A question about a story that was just told, and its answer."""
    return rng.choice([
        (f"What was the {c.animal} called?", f"The {c.animal} was called {c.name}."),
        (f"Where did {c.name} live?", f"{c.name} lived {c.home}."),
        ("Who was the other animal?", f"It was {c.friend_name} the {c.friend}."),
        ("What was the story about?", f"It was about {with_article(c.animal)} called {c.name} and {with_article(c.thing)}."),
    ])
