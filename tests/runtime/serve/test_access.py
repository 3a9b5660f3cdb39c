"""Tokens, the page's cookie, origins, and names that lead here from elsewhere."""

from __future__ import annotations

import pytest

from echoexport.runtime.serve.access import LOCAL, Access
from echoexport.runtime.serve.settings import ServeSettings

ONE = "the-token-of-one-user"
OTHER = "the-token-of-another"


@pytest.fixture
def access() -> Access:
    return Access(ServeSettings(host="0.0.0.0", tokens=(ONE, OTHER)))


def test_without_tokens_everybody_is_one() -> None:
    visitor = Access(ServeSettings()).identify({})
    assert visitor is not None
    assert visitor.owner == LOCAL


def test_each_token_is_an_owner_of_its_own(access: Access) -> None:
    one = access.identify({"authorization": f"Bearer {ONE}"})
    other = access.identify({"authorization": f"bearer  {OTHER}"})
    assert one is not None
    assert other is not None
    assert one.owner != other.owner
    assert ONE not in one.owner


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {ONE}"},
        {"authorization": f"Bearer {ONE}x"},
        {"authorization": "Bearer ä"},
        {"cookie": f"echoexport={ONE}"},
        {"cookie": "echoexport=; ;=\x00"},
    ],
)
def test_a_stranger_stays_outside(access: Access, headers: dict[str, str]) -> None:
    assert access.identify(headers) is None
    assert access.identify(headers, token="a-wrong-one") is None


def test_a_token_in_the_address_is_exchanged_for_a_cookie_that_outlives_a_restart(
    access: Access,
) -> None:
    visitor = access.identify({}, token=ONE)
    assert visitor is not None
    assert visitor.cookie is not None
    assert "HttpOnly" in visitor.cookie
    assert "SameSite=Strict" in visitor.cookie
    assert ONE not in visitor.cookie
    anew = Access(ServeSettings(host="0.0.0.0", tokens=(OTHER, ONE)))
    again = anew.identify({"cookie": "a=b; " + visitor.cookie.partition(";")[0]})
    assert again is not None
    assert again.owner == visitor.owner


def test_pages_from_elsewhere_do_not_connect() -> None:
    access = Access(ServeSettings(origins=("https://kiosk.example",)))
    host = {"host": "127.0.0.1:8080"}
    assert access.allows_origin(host)
    assert access.allows_origin({**host, "origin": "http://127.0.0.1:8080"})
    assert access.allows_origin({**host, "origin": "https://kiosk.example"})
    for origin in ("null", "http://elsewhere.example", "http://127.0.0.1:8081", ""):
        assert not access.allows_origin({**host, "origin": origin})


@pytest.mark.parametrize("host", ["elsewhere.example", "elsewhere.example:8080", "", "[", "a]b"])
def test_a_name_that_was_made_to_lead_here_is_refused(host: str) -> None:
    assert not Access(ServeSettings()).allows_host({"host": host})


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"])
def test_names_of_this_machine_are_its_own(host: str) -> None:
    assert Access(ServeSettings()).allows_host({"host": host})
