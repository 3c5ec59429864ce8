#!/usr/bin/env python3
"""The dashscope SDK through the gateway: DASHSCOPE_HTTP_BASE_URL and DASHSCOPE_API_KEY are all it knows."""

import dashscope

ASKED = {"model": "qwen-plus", "messages": [{"role": "user", "content": "Hello"}], "result_format": "text"}


def said(answer):
    """Its text, or what it was told instead."""
    return answer.output.text if answer.status_code == 200 else f"{answer.status_code} {answer.code}"


print(said(dashscope.Generation.call(**ASKED)))
*_, last = dashscope.Generation.call(**ASKED, stream=True)
print(said(last))
