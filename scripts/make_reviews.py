#!/usr/bin/env python3
"""Make product reviews, one a line as JSON, in the form of the Amazon review data; seeded. A few of them are fake.

Some products are rated more often than others. Reviews are in no order of their time, which knows days only.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: 2018-09-01 in seconds since 1970; a review is up to so many days older.
LAST_S, DAYS = 1535760000, 1000
_WORDS = ("card", "gift", "easy", "great", "love", "store", "balance", "sent", "email", "birthday", "quick", "printed",
          "family", "works", "perfect", "nice", "design", "order", "delivered", "simple", "used", "restaurant", "happy")
_FAKE = "buy this card now "


def make_reviews(count: int, products: int = 40, fakes: float = 0.0, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield reviews.

    Args:
        count: how many.
        products: how many are rated.
        fakes: part of the reviews that are fake.
        seed: the same seed gives the same reviews.
    """
    rng = random.Random(seed)
    names = [f"B{rng.randrange(36**6):09X}"[:10] for _ in range(products)]
    weights = [1 / (1 + rank) for rank in range(products)]
    for number in range(count):
        text = _FAKE * 8 if rng.random() < fakes else " ".join(rng.sample(_WORDS, rng.randint(2, 20)))
        review = {
            "overall": rng.choices([5.0, 4.0, 3.0, 2.0, 1.0], [60, 20, 10, 5, 5])[0],
            "reviewerID": f"A{number:013d}", "asin": rng.choices(names, weights)[0], "reviewText": text,
            "unixReviewTime": LAST_S - 86_400 * rng.randrange(DAYS)}
        if rng.random() < 0.01:  # some people give stars alone
            del review["reviewText"]
        yield review


def write_reviews(path: Path, count: int, products: int = 40, fakes: float = 0.0, seed: int = 0) -> None:
    """Write a file of so many reviews. The other arguments: see ``make_reviews``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(review) + "\n" for review in make_reviews(count, products, fakes, seed))


def main() -> None:
    """Make a file as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/ratings/reviews.json"), metavar="FILE",
                        help="default: %(default)s")
    parser.add_argument("--reviews", type=int, default=3000, metavar="N", help="default: %(default)s")
    parser.add_argument("--products", type=int, default=40, metavar="N", help="default: %(default)s")
    parser.add_argument("--fakes", type=float, default=0.01, metavar="PART", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_reviews(options.out, options.reviews, options.products, options.fakes, options.seed)
    print(f"{options.out}: {options.reviews:,} reviews")


if __name__ == "__main__":
    main()
