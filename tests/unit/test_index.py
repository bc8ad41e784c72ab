"""A page of the index is what a plain search of all names gives."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.engines.local.disk.blob import Blob
from services.engines.local.serving.index import Index
from tests.support.pages import page_of
from tests.support.work import calls_of

fuzz = settings(deadline=None, max_examples=100)
names = st.lists(st.text("ab/é0", min_size=1, max_size=6), max_size=30)


def blob(location: str, number: int = 0) -> Blob:
    return Blob.make(
        location=location,
        id=number,
        seq=number,
        size=0,
        sha256=bytes(32),
        crcs=b"",
        type="",
        encoding="",
        modified_ns=0,
    )


def expected(
    locations: list[str], prefix: str, delimiter: str, after: str, limit: int
) -> tuple[list[str], list[str], str | None]:
    """Blobs, prefixes and next, by the definition of a page."""
    folded = delimiter and after.endswith(delimiter) and after.startswith(prefix) and after != prefix
    items: list[tuple[str, bool]] = []
    for name in sorted(set(locations)):
        if not name.startswith(prefix) or name <= after or (folded and name.startswith(after)):
            continue
        cut = name.find(delimiter, len(prefix)) if delimiter else -1
        item = (name, False) if cut < 0 else (name[: cut + 1], True)
        if item not in items:
            items.append(item)
    shown = items[:limit]
    return (
        [name for name, is_folder in shown if not is_folder],
        [name for name, is_folder in shown if is_folder],
        shown[-1][0] if len(items) > limit else None,
    )


@fuzz
@given(
    names,
    st.text("ab/é0", max_size=3),
    st.sampled_from(["", "/"]),
    st.text("ab/é0", max_size=4),
    st.integers(1, 5),
)
@example(["a/b", "a/b/c"], "a/", "/", "a/", 5)
@example(["a/b", "a/b/c"], "a/", "/", "a/b/", 5)
@example(["a/b/a", "a/b/c"], "a/", "/", "a/b/b", 5)
def test_a_page_is_what_its_definition_says(
    locations: list[str], prefix: str, delimiter: str, after: str, limit: int
) -> None:
    maps = Index({name: blob(name, number) for number, name in enumerate(dict.fromkeys(locations))}, {})
    page = page_of(maps, prefix, delimiter, after, limit)
    found = ([one.location for one in page.blobs], page.prefixes, page.next)
    assert found == expected(locations, prefix, delimiter, after, limit)


@fuzz
@given(names, st.text("ab/é0", max_size=3), st.sampled_from(["", "/"]), st.integers(1, 3))
def test_pages_one_after_the_other_hold_everything_once(
    locations: list[str], prefix: str, delimiter: str, limit: int
) -> None:
    maps = Index({name: blob(name, number) for number, name in enumerate(dict.fromkeys(locations))}, {})
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = page_of(maps, prefix, delimiter, after, limit)
        found += sorted([one.location for one in page.blobs] + list(page.prefixes))
        after = page.next
    blobs, prefixes, _ = expected(locations, prefix, delimiter, "", 10**6)
    assert found == sorted(blobs + prefixes)


def test_a_page_costs_what_it_holds_and_not_what_is_there() -> None:
    """Measured in calls: one pass over all 40,000 blobs would take that many."""
    names = [f"{n % 200:03}/{n:05}" for n in range(40_000)]
    maps = Index({name: blob(name, n) for n, name in enumerate(names)}, {})

    def ten_pages() -> None:
        for at in range(10):
            assert len(page_of(maps, "", "", f"{at * 19:03}/", 10).blobs) == 10
            assert len(page_of(maps, "", "/", f"{at * 19:03}/", 10).prefixes) == 10

    assert calls_of(lambda: [name for name in names if name.startswith("1")]) >= 40_000
    assert calls_of(ten_pages) < 10_000


def test_records_of_front_ends_are_listed_only_for_who_asks_for_them() -> None:
    names = ["\0s3/bucket/b", "\0s3/bucket/c", "a", "b/c"]
    maps = Index({name: blob(name, n) for n, name in enumerate(names)}, {})
    assert [one.location for one in page_of(maps, "", "", "", 10).blobs] == ["a", "b/c"]
    assert [one.location for one in page_of(maps, "", "/", "", 1).blobs] == ["a"]
    assert [one.location for one in page_of(maps, "\0s3/", "", "", 10).blobs] == names[:2]
    assert [one.location for one in page_of(maps, "\0s3/", "", names[0], 10).blobs] == names[1:2]
