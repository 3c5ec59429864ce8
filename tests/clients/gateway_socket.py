#!/usr/bin/env python3
"""A task over Model Studio's websocket through the gateway. With HOLD in the environment it stays until it is cut, and
says when: seconds since the epoch."""

import json
import os
import time

from websockets import exceptions
from websockets.sync.client import connect


def act(socket, action, payload=None):
    header = {"action": action, "task_id": "0123456789abcdef", "streaming": "duplex"}
    socket.send(json.dumps({"header": header, "payload": payload or {"input": {}}}))
    return json.loads(socket.recv(timeout=10))


try:
    key = {"Authorization": "bearer " + os.environ["DASHSCOPE_API_KEY"]}
    with connect(os.environ["DASHSCOPE_WEBSOCKET_BASE_URL"], additional_headers=key, proxy=None) as socket:
        print(act(socket, "run-task")["header"]["event"])
        print(act(socket, "continue-task", {"input": {"text": "Hello"}})["payload"]["output"]["text"])
        if "HOLD" in os.environ:
            print("held", flush=True)
            socket.recv(timeout=30)
        print(act(socket, "finish-task")["header"]["event"])
except exceptions.InvalidStatus as fault:
    print(fault.response.status_code, json.loads(fault.response.body)["code"])
except exceptions.ConnectionClosed:
    print("cut", time.time())
