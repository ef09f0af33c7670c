from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Unit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NONE: _ClassVar[Unit]
    BITS_PER_SECOND: _ClassVar[Unit]
    BYTES: _ClassVar[Unit]
    SECONDS: _ClassVar[Unit]
    RATIO: _ClassVar[Unit]
NONE: Unit
BITS_PER_SECOND: Unit
BYTES: Unit
SECONDS: Unit
RATIO: Unit

class Field(_message.Message):
    __slots__ = ("name", "text", "number", "real", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REAL_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    number: int
    real: float
    unit: Unit
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., number: _Optional[int] = ..., real: _Optional[float] = ..., unit: _Optional[_Union[Unit, str]] = ...) -> None: ...

class AscpEvent(_message.Message):
    __slots__ = ("kind", "level", "side", "host", "pid", "thread", "time_ms", "groups", "numbers", "fields", "text", "raw")
    KIND_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    THREAD_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    kind: str
    level: str
    side: str
    host: str
    pid: str
    thread: str
    time_ms: int
    groups: _containers.RepeatedScalarFieldContainer[str]
    numbers: _containers.RepeatedScalarFieldContainer[int]
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    text: str
    raw: bytes
    def __init__(self, kind: _Optional[str] = ..., level: _Optional[str] = ..., side: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[str] = ..., thread: _Optional[str] = ..., time_ms: _Optional[int] = ..., groups: _Optional[_Iterable[str]] = ..., numbers: _Optional[_Iterable[int]] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., text: _Optional[str] = ..., raw: _Optional[bytes] = ...) -> None: ...
