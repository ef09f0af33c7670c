"""The options of a framing, which all sources of bytes share: what a record is."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.runtime.ports import SourceOptions
from actors.sources.framings.csv import CsvScanner
from actors.sources.framings.json_array import JsonArrayScanner
from actors.sources.framings.length_prefixed import Length, LengthPrefixedScanner
from actors.sources.framings.multiline import MultilineScanner
from actors.sources.framings.scanner import Scanner
from actors.sources.tail import Limits

Framing = Literal["lines", "csv", "multiline", "json_array", "length_prefixed"]
#: Which options are for one framing alone.
_ONLY = {"delimiter": "csv", "quote": "csv", "header": "csv", "record_start": "multiline",
         "length": "length_prefixed", "length_counts": "length_prefixed"}
_NO_DELIMITERS = "\n\r\0"


class FramedOptions(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source whose bytes are records in one of these framings.

    Attributes:
        framing: what a record is. ``lines``: a line. ``csv``: a row of CSV, with the newlines that are in quotes.
            ``multiline``: a line that ``record_start`` matches, with those behind it that it does not match.
            ``json_array``: an element of a JSON array. ``length_prefixed``: what ``length`` says, e.g. a message of
            protobuf. Records have no newline at their end, and no length before them.
        max_line_bytes: of ``lines``: longest line, its newline included; a longer one is one dead letter, without its
            bytes.
        max_record_bytes: of the other framings: longest record; a longer one is one dead letter, without its bytes. Of
            ``csv`` also how far a quote is looked for that closes a field.
        delimiter: of ``csv``: what is between two fields; one ASCII character.
        quote: of ``csv``: what a field with newlines is in; one ASCII character. In quotes, two of them are one.
        header: of ``csv``: ``skip``: the first row of each file (or stream) names the columns, and is no record.
        record_start: of ``multiline``: a regular expression (ASCII) that the first line of a record matches, at its
            beginning: ``\\d{4}-\\d\\d-\\d\\d``. It sees the first 4096 bytes of a line.
        length: of ``length_prefixed``: how the length before each record is written: unsigned, with so many bits, the
            most significant byte first (``be``) or last (``le``), or as ``varint`` (protobuf's delimited messages).
        length_counts: of ``length_prefixed``: what the length counts: the ``value``, or ``all``, itself too (BSON).

    Example::

        class Mine(FramedOptions, frozen=True, kw_only=True):
            guarantee: ClassVar[str] = "read again from the last committed position"
    """

    framing: Framing = "lines"
    max_line_bytes: Annotated[int, Meta(ge=1)] = 16 * 1024 * 1024
    max_record_bytes: Annotated[int, Meta(ge=1, le=1 << 30)] = 1024 * 1024
    delimiter: str = ","
    quote: str = '"'
    header: Literal["keep", "skip"] = "keep"
    record_start: str = ""
    length: Length = "u32be"
    length_counts: Literal["value", "all"] = "value"

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        for name, value in self.framing_set().items():
            if _ONLY.get(name, self.framing) != self.framing:
                raise ValueError(f"{name}: it is for framing = \"{_ONLY[name]}\", expected nothing with framing = "
                                 f"\"{self.framing}\", got {value!r}")
        for name, text in (("delimiter", self.delimiter), ("quote", self.quote)):
            if len(text) != 1 or not text.isascii() or text in _NO_DELIMITERS:
                raise ValueError(f"{name}: expected one ASCII character, no newline, got {text!r}")
        if self.delimiter == self.quote:
            raise ValueError(f"quote: expected another character than the delimiter, got {self.quote!r}")
        if self.framing == "multiline" and not self.record_start:
            raise ValueError("record_start: expected a regular expression that the first line of a record matches, got "
                             "nothing")
        try:
            re.compile(self.record_start.encode("ascii"))
        except UnicodeEncodeError:
            raise ValueError(f"record_start: expected ASCII, got {self.record_start!r}") from None
        except re.error as error:
            raise ValueError(f"record_start: expected a regular expression, got {self.record_start!r} ({error})"
                             ) from None

    def scanner(self) -> Scanner:
        """What finds records in this framing, which is not lines."""
        most = self.max_record_bytes
        match self.framing:
            case "csv":
                return CsvScanner(most, self.delimiter.encode(), self.quote.encode(), self.header == "skip")
            case "multiline":
                return MultilineScanner(most, re.compile(self.record_start.encode()))
            case "json_array":
                return JsonArrayScanner(most)
        return LengthPrefixedScanner(most, self.length, self.length_counts == "all")

    def limits(self, batch_bytes: int) -> Limits:
        """How large chunks and records are, and what finds them."""
        if self.framing == "lines":
            return Limits(batch_bytes, self.max_line_bytes)
        return Limits(min(batch_bytes, self.max_record_bytes), self.max_record_bytes, self.scanner)

    def framing_set(self) -> dict[str, Any]:
        """The options of the framing that are not the default, by name: for another source of the same content."""
        own, shared = msgspec.structs.asdict(self), {field.name for field in msgspec.structs.fields(FramedOptions)}
        return {field.name: own[field.name] for field in msgspec.structs.fields(type(self))
                if field.name in shared and own[field.name] != field.default}

    def cut_by(self) -> dict[str, Any]:
        """The framing, and what of its options is not the default."""
        return {"framing": self.framing, **self.framing_set()}

    def framed_as(self) -> str:
        """For ``describe``: ", framed as csv"; nothing for lines."""
        return "" if self.framing == "lines" else f", framed as {self.framing}"
