"""What the tests' side makes of replies that no honest program sends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutation.sandbox.inside.border import Border, Broken, Overflow
from mutation.sandbox.inside.mirror import FROM_PROGRAM, Refused, is_mirror
from mutation.sandbox.inside.specials import KNOWN, SPECIALS
from mutation.sandbox.inside.wire import CLASSES, Json, Pipe

TAGS = ["list", "dict", "set", "deque", "defaultdict", "Counter", "OrderedDict", "bytearray", "tuple", "same",
        "frozenset", "int", "bytes", "complex", "range", "slice", "Fraction", "Decimal", "date", "datetime",
        "time", "timedelta", "timezone", "mappingproxy", "view", "class", "type", "own", "object", "error"]
WORDS = [*sorted(CLASSES), *sorted(KNOWN), *sorted(SPECIALS), "0x10", "keys", "x", ""]
ABOUT = ["name", "module", "path", "bases", "specials", "without", "meta", "library", "fields", "generated",
         "frozen", "overrides"]
scalars = st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.sampled_from(WORDS)
numbers, tags = st.sampled_from([0, 1, 2, 3, 5, 7, 9]), st.sampled_from(TAGS)
packed: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: st.builds(lambda tag, parts: [tag, *parts], tags, st.lists(inner, max_size=5))
    | st.builds(lambda tag, n, parts: [tag, n, *parts], tags, numbers, st.lists(inner))
    | st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(ABOUT), inner | st.lists(inner, max_size=3))
    | st.builds(lambda n, about: ["own", n, about], numbers, st.fixed_dictionaries(
        {name: inner | st.lists(inner, max_size=3) for name in ABOUT[:8]})),
    max_leaves=12,
)  # fmt: skip
replies = st.one_of(
    packed,
    st.fixed_dictionaries(
        {},
        optional={
            "value": packed, "raise": packed, "kind": scalars, "message": scalars, "line": scalars,
            "refused": scalars, "output": scalars, "printed": packed, "released": st.lists(numbers) | packed,
            "changed": st.lists(st.tuples(numbers, packed).map(list)) | packed,
            "names": st.dictionaries(st.sampled_from("fgx"), packed) | packed,
        },
    ),
)  # fmt: skip


class Scripted(Pipe):
    """Gives these replies, one after the other."""

    def __init__(self, replies: list[Json]) -> None:
        self.replies = replies

    def send(self, message: Json) -> None:
        pass

    def receive(self) -> Json:
        return self.replies.pop(0)


@settings(max_examples=400)
@given(st.lists(replies, min_size=1, max_size=3))
def test_any_reply_is_a_value_an_exception_or_the_end(sent: list[Json]) -> None:
    names: dict[str, Any] = {"g": 1}
    border = Border(Scripted([{"value": ["dict", 0, "f", 2]}, *sent]), names)
    assert border.load("", False, ["f", "g"]) == {"f": 2}
    while border.fault is None and sent:
        try:
            border.ask("call")
        except (Broken, Overflow, Refused):
            assert border.fault is not None
        except BaseException as error:
            assert FROM_PROGRAM in vars(error)
        if border.fault is None and not border._pipe.replies:  # type: ignore[attr-defined]
            break
    assert names["g"] == 1, "a name that the tests have bound is theirs"


def test_what_stands_for_an_object_is_told_from_what_does_not() -> None:
    about = {
        "name": "P", "module": "program", "path": "P", "bases": [], "specials": [], "without": [], "meta": [],
        "library": [],
    }  # fmt: skip
    border = Border(Scripted([{"value": ["object", 3, ["own", 5, about]]}, {"value": ["same", 3]}]), {})
    first, again = border.ask("call"), border.ask("call")
    assert first is again and is_mirror(first) and is_mirror(type(first)) and not is_mirror(3)


@pytest.mark.parametrize("reply", [[], 7, None, "value", {}, {"value": ["same", 99]}, {"raise": 7}])
def test_what_is_no_reply_ends_the_program(reply: Json) -> None:
    border = Border(Scripted([reply]), {})
    with pytest.raises(Broken):
        border.ask("call")
    assert isinstance(border.fault, Broken)
