#!/usr/bin/env bash
# uvicorn 0.52.0 and 0.54.0 with websockets 17.4: an application refuses a WebSocket with an HTTP answer of its own (ASGI's
# extension websocket.http.response).
#
# One would guess: the headers that the application sends are the headers that the client gets.
# So it is: up to 0.52 the implementation on websockets' sans-I/O layer ("auto" takes it from 0.50 on) puts the library's
# own Content-Length and Content-Type before the application's: two of each, and the two types differ. A client that takes
# the first reads another type; a strict proxy refuses the answer. From 0.53 on there is one of each.
#
# Ends with 0 while it is so, with 1 where it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/show.py" <<'PYTHON'
import socket
import sys
import threading
import time

import uvicorn

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of the RFC's example
wanted = 2 if uvicorn.__version__ == "0.52.0" else 1


async def refuse(scope, receive, send):
    """Answer a WebSocket's opening with 403, three bytes of plain text and their length."""
    if scope["type"] != "websocket":
        return
    await receive()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"3")]
    await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"no\n"})


def ask():
    """The head of the answer, as its lines."""
    listener = socket.create_server(("127.0.0.1", 0))
    settings = uvicorn.Config(refuse, log_level="critical", ws="websockets-sansio", lifespan="off")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    lines = [
        "GET / HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13", "", "",
    ]
    answer = b""
    with socket.create_connection(listener.getsockname(), timeout=10) as client:
        client.sendall("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in answer and (part := client.recv(4096)):
            answer += part
    server.should_exit = True
    thread.join()
    return answer.split(b"\r\n\r\n")[0].decode().split("\r\n")


head = ask()
print("uvicorn", uvicorn.__version__)
print("\n".join("  " + line for line in head))
names = [line.split(":")[0].lower() for line in head[1:]]
found = {name: names.count(name) for name in ("content-length", "content-type")}
sys.exit(0 if set(found.values()) == {wanted} else 1)
PYTHON
for version in 0.52.0 0.54.0; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet "uvicorn==$version" websockets==17.4
    "$work/$version/bin/python" "$work/show.py"
done
