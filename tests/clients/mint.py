#!/usr/bin/env python3
"""A 60-second key with Python's standard library: ./mint.py KEY"""

import http.client
import json
import os
import socket
import sys


class Broker(http.client.HTTPConnection):
    """HTTP over the broker's Unix socket."""

    def __init__(self, path=None):
        super().__init__("sixty", timeout=30)
        self.path = path or os.environ.get("SIXTY_SOCKET") or os.environ["XDG_RUNTIME_DIR"] + "/sixty/broker.sock"

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def mint(self, key, ttl=60):
        """A lease: `token`, `expires_at`, `base_urls`, …; a refusal raises."""
        self.request("POST", "/v1/leases", json.dumps({"key": key, "ttl": ttl}))
        answer = self.getresponse()
        told = json.load(answer)
        if answer.status != 201:
            raise PermissionError(f"{told['code']}: {told['title']} (request {told['request_id']})")
        return told


if __name__ == "__main__":
    print(Broker().mint(sys.argv[1])["token"])
