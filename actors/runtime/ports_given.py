"""What an options class gives of its port, and what it lacks; whether what it opens is what was asked for."""

from __future__ import annotations

from actors.runtime.ports import SinkOptions, SourceOptions

#: What has no default, by base.
REQUIRED: dict[type, tuple[str, ...]] = {
    SinkOptions: ("open", "describe", "pack", "guarantee"), SourceOptions: ("open", "describe", "guarantee")}


def not_given(kind: type[SinkOptions] | type[SourceOptions]) -> list[str]:
    """What an options class has to give and does not: names in the order of ``REQUIRED``."""
    base = SinkOptions if issubclass(kind, SinkOptions) else SourceOptions
    given = {name for cls in kind.__mro__[:kind.__mro__.index(base)] for name in vars(cls)}
    return [name for name in REQUIRED[base] if name not in given]


def unfit(opened: object, wanted: type, options: SinkOptions | SourceOptions) -> str:
    """Why what ``open`` of these options has returned is no ``Sink`` or no ``Source``, or nothing."""
    if isinstance(opened, wanted):
        return ""
    return (f"open of {type(options).__name__} has returned {type(opened).__name__}, which is no {wanted.__name__}: "
            f"let it inherit from thresher.{wanted.__name__.lower()}s.{wanted.__name__}")


def unpacks(options: SinkOptions) -> bool:
    """Whether what this sink packs can be taken apart again."""
    return type(options).unpack is not SinkOptions.unpack


def looks(options: SinkOptions | SourceOptions) -> bool:
    """Whether there is anything to look at for ``thresher check``."""
    return type(options).check not in (SinkOptions.check, SourceOptions.check)
