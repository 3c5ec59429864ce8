#!/bin/sh
# curl through the gateway, without a bridge: ./gateway.sh SOCKET, with the virtual key in OPENAI_API_KEY.
set -eu

ask() {
    curl --silent --show-error --no-buffer --unix-socket "$1" --oauth2-bearer "$OPENAI_API_KEY" --json "$2" \
        http://sixty/dashscope/compatible-mode/v1/chat/completions
    echo
}

ask "$1" '{"model":"qwen-plus","messages":[{"role":"user","content":"Hello"}]}'
ask "$1" '{"model":"qwen-plus","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
