#!/usr/bin/env python3
"""The google-genai SDK through the gateway: GOOGLE_GEMINI_BASE_URL and GOOGLE_API_KEY are all it knows."""

from google import genai
from google.genai import errors

ASKED = {"model": "gemini-pretend", "contents": "Hello"}


def plain(client):
    return client.models.generate_content(**ASKED).text


def streamed(client):
    return "".join(chunk.text for chunk in client.models.generate_content_stream(**ASKED))


for talk in (plain, streamed):
    try:
        print(talk(genai.Client()))
    except errors.APIError as fault:
        print(type(fault).__name__, fault.code, fault.status)
