#!/usr/bin/env python3
"""The openai SDK through the gateway: OPENAI_BASE_URL and OPENAI_API_KEY are all it knows."""

import openai

ASKED = {"model": "qwen-plus", "messages": [{"role": "user", "content": "Hello"}]}


def plain(client):
    return client.chat.completions.create(**ASKED).choices[0].message.content


def streamed(client):
    stream = client.chat.completions.create(**ASKED, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


for talk in (plain, streamed):
    try:
        print(talk(openai.OpenAI()))
    except openai.APIStatusError as fault:
        print(type(fault).__name__, fault.code)
