"""What of a batch is in hand, said on the board; and what of it is to be tried, said in its header. See ``poison``."""

from __future__ import annotations

import msgspec

#: The stage of whoever is given parts, when it dies: a record may kill several, and its deaths are counted together.
CONSUMER = "consumer"


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What of its batch an actor has in hand, as positions: the records from ``start`` to ``end``.

    Attributes:
        since: what is between here and ``start`` was done within the second before.
        alone: nothing else was done in that second, and what is in hand is one record: it alone can be to blame.
    """

    since: int = 0
    start: int = 0
    end: int = 0
    alone: bool = False


#: Nothing more is known than which batch.
NO_MARK = Mark()


class Care(Mark, frozen=True):
    """How a batch is worked on that somebody may have died of: its records are tried first, each under a mark; what it
    names before the others, and for longer. Names nothing when it is empty.

    Attributes:
        stage: who takes care, for somebody of that stage died; consumers all together are one.
    """

    stage: str = ""
