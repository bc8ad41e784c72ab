"""The decision on who may do what: roles, prefixes, and what is remembered of secrets."""

from __future__ import annotations

import asyncio
import base64
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Busy, Forbidden, Unauthorized
from services.access import decisions as access
from services.access.decisions import Access, Action, Client, Role
from services.access.secret_hash import SecretHash, hash_password, hash_token
from tests.support.work import calls_of

R, A, W = Role.READ_ONLY, Role.APPEND_ONLY, Role.READ_WRITE


def on_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a loop of its own."""
    return functools.wraps(test)(lambda: asyncio.run(test()))


def client(name: str, role: Role = W, prefix: str = "", hash: SecretHash | None = None) -> Client:
    return Client(name, role, prefix, hash or hash_token("token of " + name))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(name: str) -> str:
    return f"Bearer dG9rZW4_{name}"


def with_tokens(*clients: Client) -> Access:
    """An Access with these clients. `bearer(name)` gives the header with a client's token."""
    return Access([Client(c.name, c.role, c.prefix, hash_token(f"dG9rZW4_{c.name}")) for c in clients])


def test_a_refusal_names_the_client_and_the_prefix() -> None:
    with pytest.raises(Forbidden, match="ci may read, but not write"):
        client("ci", R).check(Action.CREATE, "a")
    for action in (Action.UPDATE, Action.DELETE):
        with pytest.raises(Forbidden, match="ci may create blobs, but neither update nor delete"):
            client("ci", A).check(action, "a")
    with pytest.raises(Forbidden, match="ci may only use what is under team/"):
        client("ci", W, "team/").check(Action.READ, "a")


@pytest.mark.parametrize(
    ("role", "allowed"), [(R, {Action.READ}), (A, {Action.READ, Action.CREATE}), (W, set(Action))]
)
def test_a_role_allows_these_actions_on_blobs_and_no_others(role: Role, allowed: set[Action]) -> None:
    for prefix, location in (("", "a"), ("a/", "a/b")):
        who = client("ci", role, prefix)
        assert {action for action in Action if who.may(action, location)} == allowed


def test_only_those_who_may_update_change_what_is_not_a_blob() -> None:
    for action in (Action.CREATE, Action.UPDATE, Action.DELETE):
        assert client("w").may(action, None)
        assert not client("a", A).may(action, None)
        assert not client("r", R).may(action, None)
    assert client("r", R).may(Action.READ, None)


@pytest.mark.parametrize(
    ("location", "allowed"),
    [
        *(("team/a", True), ("team/a/b", True), ("team/", True)),
        *(("team", False), ("teams/a", False), ("Team/a", False), ("team%2Fa", False), ("", False)),
        *(("other/a", False), ("other/team/a", False), (None, False)),
    ],
)
def test_a_prefix_shuts_out_the_rest(location: str | None, allowed: bool) -> None:
    for role, action in ((R, Action.READ), (A, Action.READ), (W, Action.READ), (W, Action.DELETE)):
        assert client("ci", role, "team/").may(action, location) == allowed
    assert client("all", R).may(Action.READ, location)


@on_loop
async def test_everyone_may_do_everything_where_there_is_no_file() -> None:
    everyone = Access(None)
    assert everyone.is_open
    assert everyone.permits(Action.DELETE, "a", None)


def test_nobody_may_do_anything_where_the_file_is_empty() -> None:
    nobody = Access([])
    assert not nobody.is_open
    assert not nobody.permits(Action.READ, "a", None)
    headers: list[str | None] = [None, "", bearer("ci"), basic("ci", "x")]
    for header in headers:
        with pytest.raises(Unauthorized):
            asyncio.run(nobody.identify(header))


def test_a_token_is_taken_as_a_bearers_and_as_its_clients_password() -> None:
    tokens = with_tokens(client("ci"), client("laptop", R))
    for right in (
        bearer("ci"),
        bearer("ci").lower().replace("dg9rzw4", "dG9rZW4"),
        basic("ci", bearer("ci")[7:]),
    ):
        assert asyncio.run(tokens.identify(right)).name == "ci"
    for wrong in (
        None,
        "",
        "Bearer",
        bearer("nobody"),
        bearer("ci") + "x",
        "Basic " + bearer("ci")[7:],
        "Digest " + bearer("ci")[7:],
        basic("laptop", bearer("ci")[7:]),
        basic("", bearer("ci")[7:]),
        f"{bearer('ci')}, {bearer('laptop')}",
    ):
        with pytest.raises(Unauthorized):
            asyncio.run(tokens.identify(wrong))


@given(
    st.one_of(
        st.text(),
        st.text().map(lambda text: f"Bearer {text}"),
        st.binary().map(lambda raw: "Basic " + base64.b64encode(raw).decode()),
        st.text(st.characters(max_codepoint=255)).map(lambda text: f"Basic {text}"),
    )
)
def test_no_header_that_anyone_makes_up_is_more_than_unauthorized(header: str) -> None:
    users = with_tokens(client("ci"))
    with pytest.raises(Unauthorized):
        asyncio.run(users.identify(header))
    assert not users.permits(Action.READ, "a", header)


def test_a_password_is_no_token_and_only_its_own_users() -> None:
    users = Access([client("ann", hash=hash_password("päss:word", log_n=4)), client("bob")])
    assert asyncio.run(users.identify(basic("ann", "päss:word"))).name == "ann"
    for header in (
        basic("ann", "pass:word"),
        basic("bob", "päss:word"),
        basic("eve", "päss:word"),
        "Bearer abc",
    ):
        with pytest.raises(Unauthorized):
            asyncio.run(users.identify(header))


class Counting:
    """A slow hash that counts its calls, and can be made to wait."""

    slow = True

    def __init__(self, secret: str, seconds: float = 0.0) -> None:
        self.secret, self.seconds, self.asked = secret, seconds, 0

    def matches(self, secret: str) -> bool:
        self.asked += 1
        time.sleep(self.seconds)
        return secret == self.secret


@on_loop
async def test_a_password_is_hashed_once_right_or_wrong_until_the_file_is_read_again() -> None:
    slow = Counting("right", 0.01)
    users = Access([client("ann", hash=slow)])
    right, wrong = basic("ann", "right"), basic("ann", "wrong")
    # at the same time: one check serves all
    await asyncio.gather(*(users.identify(right) for _ in range(50)))
    for _ in range(3):
        assert (await users.identify(right)).name == "ann"
        with pytest.raises(Unauthorized):
            await users.identify(wrong)
    assert slow.asked == 2
    assert users.permits(Action.READ, "a", right)
    users.replace([client("ann", hash=slow)])
    assert not users.permits(Action.READ, "a", right)
    await users.identify(right)
    assert slow.asked == 3


@on_loop
async def test_an_unknown_user_costs_what_a_known_one_costs() -> None:
    slow = Counting("right")
    users = Access([client("ann", hash=slow)])
    for user in ("ann", "eve"):
        with pytest.raises(Unauthorized):
            await users.identify(basic(user, "wrong"))
    with pytest.raises(Unauthorized):
        await users.identify(basic("eve", "right"))  # a correct token, but of nobody
    assert slow.asked == 3


@on_loop
async def test_the_loop_goes_on_while_passwords_are_checked_and_guesses_do_not_pile_up() -> None:
    slow = Counting("right", 0.005)
    users = Access([client("ann", hash=slow), client("ci")])
    guesses = [asyncio.create_task(users.identify(basic("ann", f"guess {n}"))) for n in range(200)]
    await asyncio.sleep(0)
    assert (await users.identify(basic("ci", "token of ci"))).name == "ci"
    assert not any(g.done() and not g.exception() for g in guesses)
    found = await asyncio.gather(*guesses, return_exceptions=True)
    assert {type(f) for f in found} == {Unauthorized, Busy}
    assert slow.asked == access._MAX_CHECKING
    assert (await users.identify(basic("ann", "right"))).name == "ann"


@on_loop
async def test_guesses_that_wait_do_not_hold_up_the_end_of_the_server() -> None:
    slow = Counting("right", 0.05)
    users = Access([client("ann", hash=slow)])
    guesses = [asyncio.create_task(users.identify(basic("ann", f"guess {n}"))) for n in range(20)]
    await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
    users.close()
    ended = await asyncio.gather(*guesses, return_exceptions=True)
    assert {type(err) for err in ended} == {Unauthorized, Busy}
    assert slow.asked < 10


@on_loop
async def test_what_is_remembered_has_a_bound() -> None:
    users = Access([client("ann", hash=Counting("right"))])
    for n in range(access._MAX_REMEMBERED + 50):
        with pytest.raises(Unauthorized):
            await users.identify(basic("ann", f"guess {n}"))
        await users.identify("Basic" + " " * (n + 1) + basic("ann", "right")[6:])
    assert len(users._wrong) == len(users._right) == access._MAX_REMEMBERED


@on_loop
async def test_one_who_waits_and_leaves_does_not_disturb_the_others() -> None:
    users = Access([client("ann", hash=Counting("right", 0.05))])
    leaving, staying = (asyncio.create_task(users.identify(basic("ann", "right"))) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).name == "ann"


@on_loop
async def test_permits_is_true_only_for_what_is_known_already_and_needs_no_second_look() -> None:
    tokens = with_tokens(client("r", R), client("a", A), client("w"), client("p", W, "team/"))
    assert not tokens.permits(Action.READ, "team/a", bearer("w"))  # not checked yet
    for name in "rawp":
        await tokens.identify(bearer(name))
    for name, action, location, expected in (
        ("r", Action.READ, "x", True),
        ("r", Action.UPDATE, "x", False),
        ("a", Action.READ, "x", True),
        ("a", Action.CREATE, "x", True),
        ("a", Action.UPDATE, "x", False),
        ("w", Action.UPDATE, "x", True),
        ("w", Action.DELETE, "x", True),
        ("p", Action.READ, "x", False),
        ("p", Action.READ, "team/x", True),
        ("p", Action.DELETE, "team/x", True),
    ):
        assert tokens.permits(action, location, bearer(name)) == expected, (name, action, location)
    assert not tokens.permits(Action.READ, "x", None)
    assert not tokens.permits(Action.READ, "x", bearer("nobody"))
    tokens.replace([])
    assert not tokens.permits(Action.READ, "x", bearer("w"))


@on_loop
async def test_asking_for_a_known_client_costs_some_calls() -> None:
    tokens = with_tokens(*(client(f"c{n}") for n in range(100)))
    header = bearer("c50")
    await tokens.identify(header)
    assert calls_of(lambda: tokens.permits(Action.READ, "some/location.txt", header)) < 30  # about 2 µs
