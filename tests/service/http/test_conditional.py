"""If-Match and If-None-Match, as RFC 9110 (section 13) reads them."""

import pytest
from starlette.requests import Request

from service.errors import MalformedHeaderError
from service.http.conditional import digested, etag, versioned, versions_of, written


def _request(if_none_match: str | None) -> Request:
    headers = [] if if_none_match is None else [(b"if-none-match", if_none_match.encode())]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("if_match", "versions"),
    [
        (None, None),
        ("*", None),
        (" * ", None),
        ('"3"', [3]),
        ('"3", "4" ,"12"', [3, 4, 12]),
        ('W/"3"', []),
        ('W/"3", "4"', [4]),
        ('"3",,W/"4" , "5",', [3, 5]),
        ('""', []),
        ('"x"', []),
        ('"-1"', []),
        ('"3*"', []),
        ('"03"', []),
        ('"0"', []),
        ('"3,4"', []),  # one tag, and none of ours
        ('"\xe9"', []),
        ('"999999999"', [999_999_999]),
        ('"9999999999"', []),
        (f'"{"9" * 900}"', []),
    ],
)
def test_versions_of_an_if_match(if_match: str | None, versions: list[int] | None) -> None:
    assert versions_of(if_match) == versions


@pytest.mark.parametrize(
    "if_match", ["", ",", "3", '"3', '3"', '"a,3', '"3" "4"', '"3"x', 'w/"3"', 'W/ "3"', '*, "3"', '"a b"', '"\u0663"']
)
def test_an_if_match_that_is_none(if_match: str) -> None:
    with pytest.raises(MalformedHeaderError):
        versions_of(if_match)


def test_all_lines_of_an_if_none_match_count() -> None:
    lines = [(b"if-none-match", b'"1"'), (b"x", b'"4"'), (b"if-none-match", b'W/"3"')]
    assert versioned(Request({"type": "http", "headers": lines}), 3, "{}").status_code == 304
    assert versioned(Request({"type": "http", "headers": lines}), 4, "{}").status_code == 200


@pytest.mark.parametrize("known", ['"3"', 'W/"3"', '"1", "3"', '"x",W/"3"', "*", " * "])
def test_what_the_client_has_is_not_sent(known: str) -> None:
    answer = versioned(_request(known), 3, "{}")
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (304, b"", '"3"')
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("known", [None, "", '"2"', '"33"', "3", '"3', 'w/"3"', '"3" x', '"3", 3', '"3"x, "3"'])
def test_what_the_client_has_not_is_sent(known: str | None) -> None:
    answer = versioned(_request(known), 3, '{"version":3}')
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (200, b'{"version":3}', '"3"')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "private, no-cache"


def test_lists_are_known_by_their_content() -> None:
    first, second = (digested(_request(None), view) for view in ("[1]", "[2]"))
    assert first.headers["etag"] != second.headers["etag"]
    assert first.headers["etag"].startswith("W/")  # so that the list may be compressed
    for known in (first.headers["etag"], first.headers["etag"].removeprefix("W/"), f'"x", {first.headers["etag"]}'):
        assert digested(_request(known), "[1]").status_code == 304
    assert digested(_request(first.headers["etag"]), "[2]").status_code == 200


def test_what_was_written_is_answered_with_its_version() -> None:
    answer = written(7, "{}")
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (200, b"{}", etag(7))
