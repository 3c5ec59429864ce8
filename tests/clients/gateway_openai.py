#!/usr/bin/env python3
"""The openai SDK through the gateway: OPENAI_BASE_URL and OPENAI_API_KEY are all it knows."""

import openai

ASKED = {"model": "qwen-plus", "messages": [{"role": "user", "content": "Hello"}]}

try:
    client = openai.OpenAI()
    print(client.chat.completions.create(**ASKED).choices[0].message.content)
    stream = client.chat.completions.create(**ASKED, stream=True)
    print("".join(chunk.choices[0].delta.content or "" for chunk in stream))
except openai.APIStatusError as fault:
    print(type(fault).__name__, fault.code)
