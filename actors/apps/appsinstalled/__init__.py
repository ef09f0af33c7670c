"""appsinstalled: tracker logs into one key-value store per device type.

    idfa \\t e7e1a50c0ec2747ca56cd9e1558c0d7c \\t 67.7835424444 \\t -22.8044005471 \\t 7942,8519,4232
    ──▶  store "idfa":  idfa:e7e1a50c…  ──▶  UserApps{apps: [7942, 8519, 4232], lat: 67.78…, lon: -22.80…}

Values are encoded by hand, byte for byte as protobuf does it (tests compare): the message has three fields, and most of
the time would go into handing fifty numbers over to the library one by one. Instead a column of ids is decoded as JSON,
in one call, straight to the encoded field of each id: msgspec decodes integers to the members of an enumeration by a
look-up in an array, and here the members are ready-made bytes. No integer is ever made. What is unusual in any way
(an id beyond the table, a sign, a blank) takes the slow path, to the same result.
"""

from __future__ import annotations

import enum
import math
import re
import struct
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Annotated, Any

import msgspec

from thresher import ConfigError, FlowOptions, Fold, Pipeline, Question, Reject, Store, per_chunk
from thresher.sinks import DeadLetters, Lmdb
from thresher.sources import Files

#: The device types, each with a store of its own.
DEVICE_TYPES = ("idfa", "gaid", "adid", "dvid")
#: memcached's limit, which we keep for every store.
MAX_KEY_BYTES = 250
MAX_APP_ID = 2**32 - 1
_COLUMNS = 5
#: What is stripped of a line; a tab is none of it, for an empty last column is a column.
_BLANKS = b" \r\n\v\f"

#: (device type, key, encoded value, app ids stored, app ids dropped)
Value = tuple[str, bytes, bytes, int, int]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is checked beyond the form.

    Attributes:
        geo_check: reject latitudes beyond 90 and longitudes beyond 180 degrees. Off, because about half of the records
            of the real export lie there.
    """

    geo_check: bool = False


@per_chunk
def parse(lines: list[bytes]) -> list[list[bytes] | Reject | None]:
    """Split lines into their five columns; blank lines are no records."""
    rows: list[list[bytes] | Reject | None] = []
    for line in lines:
        row = line.strip(_BLANKS).split(b"\t")
        if len(row) == _COLUMNS and (row[0] or line.strip()):
            rows.append(row)
        elif not line.strip():
            rows.append(None)
        else:
            rows.append(Reject("columns", f"expected {_COLUMNS} columns, got {len(row)}"))
    return rows


@per_chunk
def check(rows: list[list[bytes]], options: Options) -> list[Value | Reject]:
    """Check each row and encode it."""
    decode, join, pack_place, names = _decode_fields, b"".join, _PLACE.pack, _NAMES
    geo_check = options.geo_check
    values: list[Value | Reject] = []
    for row in rows:
        kind, device, lat, lon, apps = row
        try:
            y, x = float(lat), float(lon)
            fields = decode(b"[%b]" % apps)
            if (
                geo_check or not fields or b" " in apps or b"\r" in apps or b"-" in apps  # JSON has blanks and -0
                or not device.isalnum() or len(device) > _USUAL_ID_BYTES
                or y - y or x - x or b"_" in lat or b"_" in lon  # y - y is not 0 for nan and infinity
            ):
                values.append(_check_slowly(row, geo_check))
                continue
            stored = len(fields)
            fields.append(pack_place(_LAT, y, _LON, x))
            values.append((names[kind], b"%b:%b" % (kind, device), join(fields), stored, 0))
        except (ValueError, KeyError):  # msgspec's errors are ValueErrors
            values.append(_check_slowly(row, geo_check))
    return values


def partials(values: list[Value], unit: int) -> dict[tuple[Any, ...], list[Any]]:
    """Count records and app ids of each device type."""
    totals = {kind: [0, 0, 0] for kind in DEVICE_TYPES}
    for kind, _, _, stored, dropped in values:
        total = totals[kind]
        total[0] += 1
        total[1] += stored
        total[2] += dropped
    return {(unit, kind): total for kind, total in totals.items() if total[0]}


def device(store: Store, key: str) -> Iterator[dict[str, Any]]:
    """What is stored of one device.

    Args:
        key: device type and id, as in idfa:e7e1a50c0ec2747ca56cd9e1558c0d7c.
    """
    from actors.apps.appsinstalled.appsinstalled_pb2 import UserApps

    kind = key.partition(":")[0]
    if kind not in DEVICE_TYPES:
        raise ConfigError(f"expected TYPE:ID, a type of {', '.join(DEVICE_TYPES)}, got {key!r}")
    value = store[kind].get(key.encode())
    if value is not None:
        found = UserApps.FromString(value)
        yield {"key": key, "lat": found.lat, "lon": found.lon, "apps": list(found.apps)}


def encode_user_apps(apps: list[int], lat: float, lon: float) -> bytes:
    """Return ``UserApps`` as protobuf encodes it; ids are 0 to 2**32 - 1."""
    return b"".join(map(_app_field, apps)) + _PLACE.pack(_LAT, lat, _LON, lon)


def _app_field(number: int) -> bytes:
    """Field 1, wire type 0: a tag byte and a varint."""
    field = bytearray(b"\x08")
    while number > 0x7F:
        field.append(number & 0x7F | 0x80)
        number >>= 7
    field.append(number)
    return bytes(field)


def _field_decoder() -> Callable[[bytes], list[bytes]]:
    """Return what decodes a JSON array of ids to their fields; any id that is not in the table is a ValueError."""
    fields = [bytes((0x08, n)) if n < 0x80 else bytes((0x08, n & 0x7F | 0x80, n >> 7)) for n in range(_TABLE_IDS)]

    class Field(enum.Enum):
        """Its members are put in by hand: to make 16,384 of them the usual way takes longer than a load."""

    # Both names are the enum module's own, not documented; msgspec, which reads the first, has no public way to a table
    # of ready-made values. Measured, with 50 ids a row: `check` takes 4.0 us a row with them, 8.5 us by public means.
    # Whether they still do is tried below, at import, and if not, public means take their place.
    Field._value2member_map_.update(enumerate(fields))  # type: ignore[arg-type]
    Field._member_map_.update((str(number), field) for number, field in enumerate(fields))  # type: ignore[misc]
    decode: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[Field]).decode
    if decode(b"[1,300]") == [fields[1], fields[300]]:
        return decode
    numbers = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, lt=_TABLE_IDS)]])  # slower, in public terms
    return lambda column: [fields[number] for number in numbers.decode(column)]


def _check_slowly(row: list[bytes], geo_check: bool) -> Value | Reject:
    kind, device, lat, lon, apps = row
    if not kind:
        return Reject("device_type_empty")
    if not device:
        return Reject("device_id_empty")
    name = _NAMES.get(kind)
    if name is None:
        return Reject("device_type_unknown", f"expected one of {', '.join(DEVICE_TYPES)}, got {_shown(kind)}")
    place: list[float] = []
    for reason, text, limit in (("latitude", lat, 90), ("longitude", lon, 180)):
        number = _finite(text)
        if number is None:
            return Reject(reason, f"expected a finite number, got {_shown(text)}")
        if geo_check and abs(number) > limit:
            return Reject(f"{reason}_range", f"expected -{limit} to {limit}, got {number:g}")
        place.append(number)
    key = b"%b:%b" % (kind, device)
    if len(key) > MAX_KEY_BYTES:
        return Reject("key", f"expected at most {MAX_KEY_BYTES} bytes, got {len(key)}")
    if _NOT_IN_KEYS.search(key):
        return Reject("key", f"expected no blanks and no control characters, got {_shown(key)}")
    columns = apps.split(b",")
    ids = [number for number in map(_app_id, columns) if number is not None]
    return name, key, encode_user_apps(ids, *place), len(ids), len(columns) - len(ids)


def _app_id(text: bytes) -> int | None:
    """The id, if it is a decimal uint32; bytes' isdigit knows ASCII digits only."""
    if not text.isdigit():
        return None
    digits = text.lstrip(b"0") or b"0"
    if len(digits) > len(str(MAX_APP_ID)):  # also keeps int() from its limit on digits
        return None
    number = int(digits)
    return number if number <= MAX_APP_ID else None


def _finite(text: bytes) -> float | None:
    """The number, if it is one to anybody; float() alone accepts 1_0 as well."""
    if b"_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _shown(text: bytes) -> str:
    return repr(text[:60])[1:] + ("..." if len(text) > 60 else "")


_LAT, _LON = 0x11, 0x19  # fields 2 and 3, wire type 1: eight bytes, little-endian
_PLACE = struct.Struct("<BdBd")
_NAMES = {name.encode(): name for name in DEVICE_TYPES}
_USUAL_ID_BYTES = MAX_KEY_BYTES - 5
_NOT_IN_KEYS = re.compile(rb"[\x00-\x20\x7f]")
#: Ids below this have a field of two or three bytes in the table; others take the slow path.
_TABLE_IDS = 1 << 14
_decode_fields = _field_decoder()

PIPELINE = Pipeline(
    name="appsinstalled",
    source=Files(pattern="data/appsinstalled/*.tsv.gz"),
    parse=parse,
    check=check,
    route=itemgetter(0),
    encode=itemgetter(1, 2),
    sinks={name: Lmdb() for name in DEVICE_TYPES},
    dead_letters=DeadLetters(),
    fold=Fold(partials=partials, keys=("unit", "device type"), fields=("records", "apps", "apps dropped")),
    options=Options(),
    questions={"device": Question(answer=device, needs=dict.fromkeys(DEVICE_TYPES, "key"), default=True)},
    flow=FlowOptions(batch_bytes=2 * 1024 * 1024),  # measured: larger gains nothing, smaller costs hops
)
