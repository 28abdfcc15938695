"""Which described arithmetic gives, for one operator and the same inputs, what a runtime gave."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explained:
    """One described arithmetic, and in how many elements of an operator's outputs it equals a runtime.

    `words`: the arithmetic in words, "upward rounding". `runtime`: the described runtime that computes; `replaced`: its
    values in whose places others were put ("FULLY_CONNECTED.requantizer", or "kernel"), none if it computed as it is.
    `equal` of `elements` are equal; of these `differing` differ from the base's, `explained` of which are equal.
    """

    words: str
    runtime: str
    replaced: tuple[str, ...]
    elements: int
    equal: int
    differing: int
    explained: int

    @property
    def whole(self) -> bool:
        """Whether it explains all elements, those that do not differ, too."""
        return self.equal == self.elements

    def __add__(self, other: Explained) -> Explained:
        """The same arithmetic on further samples."""
        return Explained(
            self.words,
            self.runtime,
            self.replaced,
            self.elements + other.elements,
            self.equal + other.equal,
            self.differing + other.differing,
            self.explained + other.explained,
        )

    def __str__(self) -> str:
        word = "equal to" if self.whole else "nearest to"
        text = f"{word} {self.words} in {self.equal:,} of {self.elements:,} elements"
        return text if self.whole else f"{text}, {self.explained:,} of the {self.differing:,} that differ"
