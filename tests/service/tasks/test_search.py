"""Search: words of any script, the last one from its beginning, whatever is typed."""
# ruff: noqa: RUF001 - letters that look alike are the point

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.conftest import User
from tests.service.tasks.making import make, make_many, titles


@pytest.mark.parametrize(
    ("title", "finds", "misses"),
    [
        (
            "The quarterly Report, for Anna",
            ["report", "REPORT anna", "anna quart", "q", "for the"],
            ["eport", "ann the"],
        ),
        ("Einkauf/Verkauf am See", ["verkauf", "einkauf see", "Einkauf/Ver"], ["kauf"]),
        ("Weihnachts-Feier in Übersee", ["feier", "weihnachts-feier", "übersee", "ÜBERSEE"], ["ubersee"]),
        ("“quoted” – dash…dots snake_case v2.4", ["quoted", "dash dots", "case", "snake_ca", "v2.4", "v2", "4"], ["2"]),
        ("mail a.b@example.com http://x.de/path?q=1", ["example", "a.b@example.com", "x.de/pa", "path q"], ["xample"]),
        ("Große Straße in İstanbul, ΟΔΟΣ", ["straße", "istanbul", "οδος", "GRO"], ["strasse"]),
        ("de\u0301ja\u0300 vu", ["déjà", "de\u0301ja\u0300 v"], ["deja"]),
        ("四半期報告書を書く", ["報告", "報告書を", "書く", "四"], ["電"]),
        ("ﾀｽｸ ＦＵＬＬ タスク", ["タスク", "full", "ﾀｽ", "FU"], ["ブ"]),
        ("เขียนรายงาน", ["รายงาน", "เขียน"], ["ซ"]),
        ("हिन्दी में लिखो", ["हिन्दी", "में लिखो"], ["अंग्रेज़ी"]),
        ("اكتب التقرير", ["التقرير", "اكتب الت"], ["رير"]),
        ("напиши отчёт", ["ОТЧЁТ", "напиши от"], ["тчёт"]),
        ("x" * 200, ["x" * 200, "x" * 199, "x"], ["y", "x" * 199 + "y"]),
    ],
)
async def test_words_are_found(user: User, title: str, finds: list[str], misses: list[str]) -> None:
    await make(user, title=title)
    await make(user, title="something else")
    for q in finds:
        assert await titles(user, q=q) == [title], q
    for q in misses:
        assert await titles(user, q=q) == [], q


async def test_the_last_word_may_be_begun_and_the_others_not(user: User) -> None:
    await make_many(user, {"title": "reading list"}, {"title": "read", "description": "listen"})
    assert await titles(user, q="read") == ["read", "reading list"]
    assert await titles(user, q="read list") == ["read"]
    assert await titles(user, q="list read") == ["reading list"]


async def test_words_of_title_and_description_change_with_them(user: User) -> None:
    task = await make(user, title="alpha", description="beta\n\tgamma")
    assert await titles(user, q="gamma alpha") == ["alpha"]
    await user.call("PATCH", f"/tasks/{task['id']}", json={"description": "delta"}, expect=200)
    assert await titles(user, q="gamma") == []
    assert await titles(user, q="delta alpha") == ["alpha"]


async def test_long_words_and_long_descriptions(user: User) -> None:
    await make(user, description="y" * 10_000)
    await make(user, description="書" * 10_000, title="kanji")
    await make(user, description=" ".join(f"w{number}" for number in range(1_600)), title="many")
    assert await titles(user, q="y" * 200) == ["a task"]
    assert await titles(user, q="書書") == ["kanji"]
    assert await titles(user, q="w1599 w0 w700") == ["many"]


async def test_marks_cannot_be_typed(user: User, stranger: User) -> None:
    await make(user, title="one", status="archived")
    await make(stranger, title="one of another")
    account_id = (await user.call("GET", "/me", expect=200))["id"]
    mark = account_id[-8:]
    await make(user, title=f"{mark}=todo {mark}one =completed")
    assert await titles(user, q="one") == ["one"]
    assert await titles(stranger, q="one") == ["one of another"]
    assert await titles(user, status="completed") == []
    assert await titles(user, q="=archived") == []
    assert await titles(user, q=f"{mark}=todo") == [f"{mark}=todo {mark}one =completed"]


@pytest.mark.parametrize("q", ["!", "' | 'a", "🎉", "- -", "\\", "''", "&|!()<->:*", "\u0301", " ", "%", "_"])
async def test_text_without_a_word_finds_nothing(user: User, q: str) -> None:
    await make(user, title=f"a task {q}")
    if re.search(r"\w", q.replace("_", "")) is None:
        assert await titles(user, q=q) == []


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
async def test_whatever_is_typed_is_answered(user: User, data: st.DataObject) -> None:
    q = data.draw(
        st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=200)
    )
    page = await user.call("GET", "/tasks", params={"q": q}, expect=200)
    assert page == {"items": [], "next_cursor": None}


WORDS = ["red", "redo", "re", "rot", "Rot", "été", "ete", "報告", "報", "x1", "1x"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), min_size=1, max_size=6),
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3), min_size=1, max_size=4),
)
async def test_search_agrees_with_looking(user: User, said: list[list[str]], sought: list[list[str]]) -> None:
    for task in (await user.call("GET", "/tasks", params={"limit": 100}, expect=200))["items"]:
        await user.call("DELETE", f"/tasks/{task['id']}", expect=204)
    await make_many(user, *({"title": " ".join(words)} for words in said))
    for words in sought:
        *whole, begun = _split(words)
        expected = [
            " ".join(words)
            for words in said
            if set(whole) <= set(_split(words)) and any(word.startswith(begun) for word in _split(words))
        ]
        assert sorted(await titles(user, q="; ".join(words))) == sorted(expected)


def _split(words: list[str]) -> list[str]:
    """As search does: each Han letter is a word."""
    return [part for word in words for part in (word if word > "㐀" else [word.lower()])]


async def test_every_form_of_a_query_is_one_request(user: User) -> None:
    await make(user, title="a b")
    parameters: list[Any] = [
        ("q", "first"),
        ("q", "b"),
    ]  # the last one counts, as for every parameter that is not a list
    page = await user.call("GET", "/tasks", params=parameters, expect=200)
    assert [item["title"] for item in page["items"]] == ["a b"]
