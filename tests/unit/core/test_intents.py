"""What a write is about to make true."""

from hypothesis import given
from hypothesis import strategies as st

from shipper.core.intents import MOST_INTENTS, Likeness, likeness, with_intent
from shipper.core.types import ETag, ListedObject, ObjectKey

WRITES = st.lists(
    st.tuples(st.sampled_from(["", "a", "b", "c-2"]), st.integers(0, 9)), max_size=12
)


def found(etag: str, size_bytes: int) -> ListedObject:
    return ListedObject(ObjectKey("k"), size_bytes, ETag(etag))


@given(WRITES, st.sampled_from([True, False, None]))
def test_whichever_of_the_latest_writes_arrived_is_recognised(
    writes: list[tuple[str, int]], etags_are_md5: bool | None
) -> None:
    intents = ""
    for etag, size_bytes in writes:
        intents = with_intent(intents, etag, size_bytes)
    assert len(intents.split()) <= MOST_INTENTS
    latest = list(dict.fromkeys(reversed(writes)))[:MOST_INTENTS]
    for etag, size_bytes in latest:
        it_is = likeness(intents, found(etag, size_bytes), etags_are_md5)
        assert it_is is Likeness.SAME or not etag


@given(WRITES, st.sampled_from([True, False, None]))
def test_an_object_of_another_size_is_another(
    writes: list[tuple[str, int]], etags_are_md5: bool | None
) -> None:
    intents = ""
    for etag, size_bytes in writes:
        intents = with_intent(intents, etag, size_bytes)
    assert likeness(intents, found("a", 99), etags_are_md5) is Likeness.OTHER


def test_an_etag_that_differs_means_what_etags_mean_there() -> None:
    intents = with_intent("", "a", 5)
    assert likeness(intents, found("b", 5), True) is Likeness.OTHER
    assert likeness(intents, found("b", 5), False) is Likeness.SAME_SIZE
    assert likeness(intents, found("b", 5), None) is Likeness.UNDECIDED
    assert likeness("", found("a", 5), False) is Likeness.OTHER
