#!/usr/bin/env python3
"""The dashscope SDK with a short key: ./studio.py KEY SECONDS

It reads the file that DASHSCOPE_API_KEY_FILE_PATH names anew at each call, unless DASHSCOPE_API_KEY is set.
DASHSCOPE_HTTP_BASE_URL is the lease's `base_urls.native`.
"""

import os
import sys
import time

from dashscope import Generation

from mint import Broker


def keep(token):
    """Puts a token where the SDK looks for it, in a file that nobody else can read."""
    with open(os.environ["DASHSCOPE_API_KEY_FILE_PATH"], "w", opener=lambda path, how: os.open(path, how, 0o600)) as file:
        file.write(token)


def say():
    """One call; its status and, of a refusal, the code."""
    answer = Generation.call("qwen-plus", messages=[{"role": "user", "content": "Hello"}])
    print(answer.status_code, answer.code or "OK", flush=True)


if __name__ == "__main__":
    lease = Broker().mint(sys.argv[1], ttl=int(sys.argv[2]))
    keep(lease["token"])
    say()
    # A lease is over no later than its token: the provider's clock may count a second or two more.
    time.sleep(max(0, lease["expires_at"] - time.time()) + 2)
    say()
