#!/usr/bin/env python3
"""The openai SDK with a fresh key for each request: ./openai_chat.py KEY"""

import sys

from openai import OpenAI

from mint import Broker


def token():
    return Broker().mint(sys.argv[1])["token"]


if __name__ == "__main__":
    base_url = Broker().mint(sys.argv[1])["base_urls"]["openai"]
    client = OpenAI(api_key=token, base_url=base_url)
    for _ in range(2):
        told = client.chat.completions.create(model="qwen-plus", messages=[{"role": "user", "content": "Hello"}])
        print(told.choices[0].message.content)
