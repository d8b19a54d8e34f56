"""Passwords that everybody tries first, which no hash protects (NIST SP 800-63B-4, section 3.1.1.2).

Not a list of what once leaked, but what most of those lists is made of: a word that many choose with something before
or after it, a walk over the keyboard, a date or another short number, few characters again and again.
"""

import unicodedata
from pathlib import Path

from pydantic_core import PydanticCustomError

_WORDS = frozenset(Path(__file__).with_suffix(".txt").read_text(encoding="ascii").split())
_WALKS = (
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "1234567890-=",
    "qwertyuiop[]",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujmik",
    "zaq12wsxcde34rfvbgt56yhn",
)
_LEET = str.maketrans("@4310$57!", "aaeiossti")
_LEAST_DIFFERENT = 4
_LONG_NUMBER = 12


def refuse_common(password: str) -> str:
    """Return a password that is none of those.

    Raises:
        PydanticCustomError: it is one.
    """
    plain = unicodedata.normalize("NFKC", password).lower()
    # What people put round a word so that it passes for something else.
    stem = plain.strip("0123456789!?.,@#$%&*+-_= ")
    is_walk = any(plain in line or plain in line[::-1] for line in _WALKS)
    is_number = plain.isdecimal() and len(plain) < _LONG_NUMBER
    if is_walk or is_number or len(set(plain)) < _LEAST_DIFFERENT or {plain, stem, stem.translate(_LEET)} & _WORDS:
        raise PydanticCustomError("common_password", "is one that everybody tries first: choose a less usual one")
    return password
