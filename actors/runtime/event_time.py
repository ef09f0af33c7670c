"""What a reader decides of event time: what windows are counted from, and which units the watermark waits for.

    source ──how files begin──▶ heads.py ──▶ anchor ──▶ ledger ──▶ headers of batches
       │  └──first batches────▶ anchor.py ──┘
       └──which may go on, what is open──▶ active units ──▶ headers of batches, and shards

Both are decided here alone, by one process, for workers and shards would each come to something else.
"""

from __future__ import annotations

import msgspec

from actors.runtime.actor import Post
from actors.runtime.anchor import Anchor
from actors.runtime.heads import Heads
from actors.runtime.ledger import Ledger
from actors.runtime.manifest import Manifest
from actors.runtime.messages import NO_TIMES, Again, Member, Roll, Span, Suspect
from actors.runtime.open_batch import State
from actors.runtime.origin import Origin
from actors.runtime.poison import ALLOWED
from actors.runtime.ports import Source
from actors.runtime.supply import Supply

#: What the ledger calls the event time that windows are counted from.
ANCHOR = "anchor"
#: And how often no unit was active any more.
_SILENCES = "silences"
#: What partitions are called in which the beginnings of files travel.
_HEAD = "head/"


class EventTime:
    """See above.

    Args:
        post: the way out.
        manifest: the windows; how much may be under way.
        ledger: what was decided before.
        origin: the open batches.
        source: the opened source.
        supply: what was read and is not issued.
    """

    def __init__(self, post: Post, manifest: Manifest, ledger: Ledger, origin: Origin, source: Source,
                 supply: Supply) -> None:
        self._post = post
        self._ledger = ledger
        self._origin = origin
        self._source = source
        self._supply = supply
        kept = ledger.fact(ANCHOR)
        self._disorder_ms = round(1000 * manifest.window.disorder_s)
        self._anchor = Anchor(manifest.window.start, self._disorder_ms, None if kept is None else int(kept))
        origin.anchor = self._anchor.value
        #: Of each file no more is looked at than this, to find its oldest record.
        self._most_bytes = manifest.flow.window_bytes // 4
        self._heads: Heads | None = None
        self._has_looked = self._anchor.value is not None
        origin.silences = int(ledger.fact(_SILENCES) or 0)
        self._is_untold = False
        #: Whether the source has ever said that a unit may go on.
        self._tells_silence = False
        #: Of what is asked: whether it is all that the file has, and how many have died with it.
        self._is_all: dict[int, bool] = {}
        self._deaths: dict[int, int] = {}

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet what windows are counted from."""
        return self._anchor.value is None

    def looks(self) -> bool:
        """Ask how files begin, as far as there is room; return whether that goes on: nothing is read before it is over.
        """
        if self._has_looked:
            return False
        if self._heads is None:
            self._heads = Heads(self._source.first_look(), self._disorder_ms, self._most_bytes)
        heads = self._heads
        while self._supply.may_read() and self._origin.has_room() and (wanted := heads.next()) is not None:
            unit, size = wanted
            chunk, is_all = self._source.glance(unit, size)
            if chunk is None or chunk.fault or not chunk.data:
                heads.saw(unit, NO_TIMES, is_all)
            else:
                self._is_all[unit] = is_all
                chunk = msgspec.structs.replace(chunk, seen_ms=self._ledger.issued.clock())
                self._origin.ask(f"{_HEAD}{unit}", chunk)
        if not self._supply.may_read():  # a signal: the next run looks at all of them
            self._has_looked = not self._is_all
        elif heads.is_done:
            self._conclude(heads)
        return not self._has_looked

    def answered(self, sender: str, message: Again, span: Span) -> bool:
        """A worker has said what times a batch has, and made nothing of it; return whether that was news."""
        if not message.partition.startswith(_HEAD):
            return self._origin.put_off(message.id, message.epoch, sender, span)
        is_news = self._origin.take_out(message.id, message.epoch, sender)
        if is_news:
            self._saw(message.partition, span)
        return is_news

    def suspected(self, death: Suspect) -> bool:
        """Whether somebody has died with the beginning of a file in hand. What kills is found when the file is read;
        without it the file says nothing."""
        if not death.partition.startswith(_HEAD):
            return False
        unit = int(death.partition.removeprefix(_HEAD))
        self._deaths[unit] = self._deaths.get(unit, 0) + 1
        if self._deaths[unit] >= ALLOWED and self._origin.take_out(death.id):
            self._is_all[unit] = True
            self._saw(death.partition, NO_TIMES)
        return True

    def decide(self) -> None:
        """Decide what windows are counted from, once; say which units the watermark waits for, when they change."""
        going_on = self._source.active()
        self._tells_silence |= bool(going_on)
        if self.is_open and self._has_looked:
            spans, is_all = spans_of(self._origin)
            no_more = not self._supply.is_empty() or not self._supply.may_read() or not self._origin.has_room()
            no_more |= self._tells_silence and not going_on  # all are silent
            if self._anchor.decide(spans, is_all and no_more):
                self._keep()
        # What a unit has open, or was read ahead of it, is not applied yet: it is waited for, though all of it is read.
        unapplied = self._origin.open_units() | self._supply.units()
        opened = {unit for unit in unapplied if self._ledger.is_alone(unit)}
        active = tuple(sorted(opened.union(going_on)))
        if active == self._origin.active or not (active or self._origin.active or self._has_nothing()):
            return
        self._origin.active = active
        self._origin.roll += 1
        if not active:
            self._origin.silences += 1
            self._ledger.keep(_SILENCES, str(self._origin.silences))
        self._is_untold = True

    def tell_all(self) -> None:
        """Say to all shards which units the watermark waits for, when that is in the ledger, as far as it has to be."""
        if self._is_untold:
            self._is_untold = False
            for member in self._post.members.values():
                self.tell(member)

    def tell(self, member: Member) -> None:
        """Say which units the watermark waits for, if this is a shard."""
        if member.stage == "aggregator" and self._origin.active is not None and not self._is_untold:
            self._post.send(member.address, Roll(self._origin.roll, self._origin.active, self._origin.silences))

    def _has_nothing(self) -> bool:
        """Whether that no unit is active may be the first word: the source has looked, and found nothing to read. What
        an earlier run has read is closed then as far as its newest record goes."""
        return self._source.has_looked and self._supply.is_empty() and not len(self._origin)

    def _saw(self, partition: str, span: Span) -> None:
        unit = int(partition.removeprefix(_HEAD))
        is_all = self._is_all.pop(unit)
        if self._heads is not None:
            self._heads.saw(unit, span, is_all)

    def _conclude(self, heads: Heads) -> None:
        self._has_looked, self._heads = True, None
        self._anchor.most = heads.least
        if heads.least is not None and not (self._source.endless and heads.may_get_older()):
            self._anchor.value = heads.least
            self._keep()

    def _keep(self) -> None:
        value = self._anchor.value
        assert value is not None
        self._ledger.keep(ANCHOR, str(value))  # durable with the flush before the next delivery
        self._origin.resume(value)


def spans_of(origin: Origin) -> tuple[list[Span], bool]:
    """What the batches with event times have reported, from the first on; whether nothing can move any more.

    Batches without times that have none with times before them are delivered with any anchor: were they to wait for
    one, and were they all that the window holds, it would never come.
    """
    spans: list[Span] = []
    is_all = True
    for key, batch in sorted(origin.all_open(), key=lambda item: (item[1].turn, item[0][1])):
        if batch.timeless and batch.state is State.PUT_OFF and not spans:
            origin.requeue(key, batch)
        if batch.state in (State.QUEUED, State.SENT):
            is_all = False
            if not batch.timeless:
                break
        elif batch.span is not None and not batch.timeless:
            spans.append(batch.span)
    return spans, is_all
