import base64
import json

from infra import generate


def test_passwords_are_long_differ_and_are_taken_for_no_option() -> None:
    made = {generate.password() for _ in range(2000)}
    assert len(made) == 2000
    assert all(len(base64.urlsafe_b64decode(text + "=")) == 32 for text in made)
    assert not [text for text in made if text.startswith("-")]


def test_a_key_ring_signs_with_a_key_of_its_own() -> None:
    ring = json.loads(generate.token_keys())
    assert [key["kid"] for key in ring["keys"]] == [ring["signing"]]
    assert len(base64.urlsafe_b64decode(ring["keys"][0]["key"] + "=")) == 32
