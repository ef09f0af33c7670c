from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Rating(_message.Message):
    __slots__ = ("asin", "reviewer_id", "overall", "unix_review_time")
    ASIN_FIELD_NUMBER: _ClassVar[int]
    REVIEWER_ID_FIELD_NUMBER: _ClassVar[int]
    OVERALL_FIELD_NUMBER: _ClassVar[int]
    UNIX_REVIEW_TIME_FIELD_NUMBER: _ClassVar[int]
    asin: str
    reviewer_id: str
    overall: float
    unix_review_time: int
    def __init__(self, asin: _Optional[str] = ..., reviewer_id: _Optional[str] = ..., overall: _Optional[float] = ..., unix_review_time: _Optional[int] = ...) -> None: ...

class AverageRating(_message.Message):
    __slots__ = ("asin", "mean_overall", "count")
    ASIN_FIELD_NUMBER: _ClassVar[int]
    MEAN_OVERALL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    asin: str
    mean_overall: float
    count: int
    def __init__(self, asin: _Optional[str] = ..., mean_overall: _Optional[float] = ..., count: _Optional[int] = ...) -> None: ...

class AverageRatings(_message.Message):
    __slots__ = ("start_ms", "end_ms", "revision", "ratings")
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RATINGS_FIELD_NUMBER: _ClassVar[int]
    start_ms: int
    end_ms: int
    revision: int
    ratings: _containers.RepeatedCompositeFieldContainer[AverageRating]
    def __init__(self, start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., revision: _Optional[int] = ..., ratings: _Optional[_Iterable[_Union[AverageRating, _Mapping]]] = ...) -> None: ...
