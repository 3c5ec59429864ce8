#!/usr/bin/env python3
"""Narrows a virtual key by nothing but Python's standard library, and by what the manual's page `narrow` says alone.

narrow.py PAGE          recomputes the vectors of that page; the first difference ends it
narrow.py KEY STEP...   prints KEY narrowed by each STEP, which is JSON
"""

import hashlib
import hmac
import json
import sys
import zlib

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def check(text):
    """Six digits, the least one first, of the CRC-32."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits += LETTERS[digit]
    return digits


def narrowed(key, steps):
    mark = hashlib.sha256(key.encode()).digest()[:16]
    seed = hashlib.sha256(b"sixty seed 1\0" + key.encode()).digest()[:16]
    last = hmac.digest(seed, b"sixty narrowed 1\0" + mark, "sha256")
    body, nodes, hashes = b"\x01" + mark, [], []
    for step in steps:
        last = hmac.digest(last, step.encode(), "sha256")
        body += len(step.encode()).to_bytes(2, "big") + step.encode()
        hashes.append(last.hex())
        nodes.append("nd_" + mark.hex() + hashlib.sha256(b"sixty node 1\0" + last).digest()[:8].hex())
    text = "sixty_" + (body + last).hex()
    return {"key": key, "seed": seed.hex(), "steps": steps, "hashes": hashes, "ids": nodes, "narrowed": text + check(text)}


def main(first, *steps):
    if steps:
        print(narrowed(first, list(steps))["narrowed"])
        return
    page = open(first, encoding="utf-8").read()
    vectors = json.loads(page.split("```json\n")[1].split("```")[0])
    for vector in vectors:
        assert vector["key"][-6:] == check(vector["key"][:-6]), vector["key"]
        assert vector == narrowed(vector["key"], vector["steps"]), vector["key"]
    print(len(vectors), "vectors")


if __name__ == "__main__":
    main(*sys.argv[1:])
