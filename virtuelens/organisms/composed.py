"""A binary variable that two words give together and neither alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

SPLIT_GROUPS = {"main": range(12), "shifted": range(12, 18), "transfer": range(18, 24)}
"""Group number g has first words g mod 4 and second words g div 4: 24 of them, each in one split of
a pack, so that no two words stand together in two groups or two splits."""


@dataclass(frozen=True)
class Composed:
    """True where both words are of the first kind, or both of the second.

    first, second: words of each place, the first kind and the second kind.
    held: stride and modulus of the pairs of words that training never shows.
    skew: share of the first kind at the first place in training. With an even share the variable is
        a parity, which gradient descent does not find in this budget; packs are even all the same.
    """

    first: tuple[tuple[str, ...], tuple[str, ...]]
    second: tuple[tuple[str, ...], tuple[str, ...]]
    skew: float = 0.75
    held: tuple[int, int] = (1, 6)

    @property
    def words(self) -> list[str]:
        """Every word of both places."""
        return [w for kinds in (*self.first, *self.second) for w in kinds]

    def value(self, a: str, b: str) -> bool:
        """What two words give together."""
        return (a in self.first[0]) == (b in self.second[0])

    def held_out(self, a: str, b: str) -> bool:
        """Whether training never shows these two words together; there are some for every word."""
        i = (*self.first[0], *self.first[1]).index(a)
        j = (*self.second[0], *self.second[1]).index(b)
        stride, modulus = self.held
        return (stride * i + j) % modulus == 0

    def draw(self, rng: Random, value: bool, *, unseen: bool = False) -> tuple[str, str]:
        """Two words that give `value`; held out of training, or shown in it."""
        while True:
            kind = 0 if rng.random() < self.skew else 1
            a = rng.choice(self.first[kind])
            b = rng.choice(self.second[kind if value else 1 - kind])
            if self.held_out(a, b) == unseen:
                return a, b

    def sides(self, rng: Random) -> tuple[tuple[str, str], tuple[str, str]]:
        """Two words that make it false and two that make it true, the first word the same."""
        kind = rng.randrange(2)
        a = rng.choice(self.first[kind])
        return (a, rng.choice(self.second[1 - kind])), (a, rng.choice(self.second[kind]))

    def changes(self, group: int) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
        """Words on the true and on the false side of a pair, four times: each word changes twice.

        Within a group every word stands as often on one side as on the other.
        """
        a, other_a = (kind[group % 4] for kind in self.first)
        b, other_b = (kind[group // 4] for kind in self.second)
        yield (a, b), (other_a, b)
        yield (other_a, other_b), (a, other_b)
        yield (a, b), (a, other_b)
        yield (other_a, other_b), (other_a, b)
