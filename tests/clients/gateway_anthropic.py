#!/usr/bin/env python3
"""The anthropic SDK through the gateway: ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY are all it knows."""

import anthropic

ASKED = {"model": "qwen-plus", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


def plain(client):
    return client.messages.create(**ASKED).content[0].text


def streamed(client):
    with client.messages.stream(**ASKED) as stream:
        return "".join(stream.text_stream)


for talk in (plain, streamed):
    try:
        print(talk(anthropic.Anthropic()))
    except anthropic.APIStatusError as fault:
        print(type(fault).__name__, fault.body["error"]["type"])
