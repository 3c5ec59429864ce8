#!/usr/bin/env python3
"""The anthropic SDK through the gateway: ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY are all it knows."""

import anthropic

ASKED = {"model": "qwen-plus", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}

try:
    client = anthropic.Anthropic()
    print(client.messages.create(**ASKED).content[0].text)
    with client.messages.stream(**ASKED) as stream:
        print("".join(stream.text_stream))
except anthropic.APIStatusError as fault:
    print(type(fault).__name__, fault.body["error"]["type"])
