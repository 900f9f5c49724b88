#!/usr/bin/env python3
"""Writes tests/golden/text/normalization.json: Unicode's four normal forms as Python's unicodedata has them.

    python3 tools/make_golden_unicode.py

Of every code point that a form changes, of every Hangul syllable without a final consonant before whatever stands near
the finals, and of drawn sequences of marks, jamo, letters and changing characters. Only hashes (FNV-1a, 64 bits, of the
UTF-8 texts) are kept; what the hashes are of is made again by the test.
"""

import json
import pathlib
import unicodedata

PATH = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "text" / "normalization.json"
FORMS = ["NFC", "NFD", "NFKC", "NFKD"]
SEQUENCES = 40_000
PER_HASH = 1_000
MASK = (1 << 64) - 1


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return f"{value:016x}"


def runs(wanted):
    out = []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000 or not wanted(chr(c)):
            continue
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def members(ranges):
    return [c for first, last in ranges for c in range(first, last + 1)]


def draws(marks, changing):
    """The test draws the same: one generator, a kind of character, then the character."""
    state = 1
    kinds = [marks, list(range(0x1100, 0x1200)), list(range(0xAC00, 0xD7A4)), changing, [ord(c) for c in "aceghijklnorsuyzAEIOU"]]

    def draw(count):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        return (state >> 33) % count

    for _ in range(SEQUENCES):
        size = 2 + draw(5)
        out = ""
        for _ in range(size):
            kind = kinds[draw(len(kinds))]
            out += chr(kind[draw(len(kind))])
        yield out


def hashes(texts, per_hash):
    """For each form the hash of `per_hash` texts in a row, each ended by a line end."""
    out = {}
    for form in FORMS:
        pieces = [unicodedata.normalize(form, text).encode() + b"\n" for text in texts]
        out[form] = [fnv1a(b"".join(pieces[i:i + per_hash])) for i in range(0, len(pieces), per_hash)]
    return out


def main():
    changing = runs(lambda c: any(unicodedata.normalize(form, c) != c for form in FORMS))
    marks = runs(lambda c: unicodedata.combining(c) != 0)
    unassigned = runs(lambda c: unicodedata.category(c) == "Cn")
    hangul = [chr(lv) + chr(t) for lv in range(0xAC00, 0xD7A4, 28) for t in range(0x11A6, 0x11C4)]
    golden = {
        "command": "tools/make_golden_unicode.py", "unicode": unicodedata.unidata_version,
        "changing": changing, "marks": marks, "unassigned": unassigned, "per_hash": PER_HASH,
        "single": hashes([chr(c) for c in members(changing)], PER_HASH), "hangul": hashes(hangul, PER_HASH),
        "sequences": SEQUENCES, "drawn": hashes(list(draws(members(marks), members(changing))), PER_HASH)}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in golden.items())
    PATH.write_text("{" + lines + "}\n")
    print(f"{PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
