"""Who lives, as one actor knows it from rosters, and whose word is void. Pure.

A message of the dead can still be read after the roster that says so: it had arrived before. To believe it would undo
what the death caused (a worker's credit, given back to life, draws batches to an address where nobody is).
"""

from __future__ import annotations

from actors.runtime.messages import Member, Roster


class Membership:
    """The members of the last roster, and the highest generation of each name that is known to be dead."""

    def __init__(self) -> None:
        self._living: dict[str, Member] = {}
        self._dead: dict[str, int] = {}

    def meet(self, roster: Roster) -> tuple[list[Member], list[Member]]:
        """Take a roster; return who has come and who has gone since the last one."""
        now = {member.name: member for member in roster.members}
        gone = [old for old in self._living.values() if now.get(old.name) != old]
        come = [member for member in roster.members if self._living.get(member.name) != member]
        self._living = now
        for member in gone:
            self._dead[member.name] = max(member.generation, self._dead.get(member.name, 0))
        for member in come:
            self._dead[member.name] = max(member.generation - 1, self._dead.get(member.name, 0))
        return come, gone

    def is_dead(self, address: str) -> bool:
        """Whether this address is known to be dead. A newer one than known is not: it may overtake the roster."""
        name, _, generation = address.rpartition("#")
        return generation.isdigit() and int(generation) <= self._dead.get(name, 0)
