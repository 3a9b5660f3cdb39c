"""Joins a chat model to a face: each sentence of its answer is spoken once it is whole.

A line that is written while it speaks interrupts it."""

import argparse
import json
import os
import re
import sys
import threading
from urllib.request import Request, urlopen

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--chat", default="http://127.0.0.1:11434", help="of the OpenAI interface")
parser.add_argument("--model", default="llama3.2")
parser.add_argument("--face", default="http://127.0.0.1:8080", help="of echoexport serve")
options = parser.parse_args()
lock = threading.Lock()


def ask(url, body=None, key="ECHOEXPORT_TOKEN"):
    """An answer that is open to be read; ``body`` goes out as JSON."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get(key)}"}
    return urlopen(Request(url, None if body is None else json.dumps(body).encode(), headers))


def think():
    """Sentences of the model's answer as it writes them."""
    body = {"model": options.model, "messages": messages, "stream": True}
    rest = ""
    with ask(f"{options.chat}/v1/chat/completions", body, "OPENAI_API_KEY") as answer:
        for line in answer:
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                for choice in json.loads(line[5:])["choices"]:
                    rest += choice["delta"].get("content") or ""
                *whole, rest = re.split(r"(?<=[.!?…])\s+|\n+", rest)
                yield from whole
    yield rest


def speak(mine):
    """Answer, until another line is there."""
    for sentence in filter(str.strip, think()):
        with lock:
            if turn != mine:
                return
            ask(f"{session}/say", {"text": sentence}).close()
            messages.append({"role": "assistant", "content": sentence})


sessions = f"{options.face}/v1/sessions"
known = json.load(ask(sessions))["data"] or [json.load(ask(sessions, {}))]  # an open page's first
session = f"{sessions}/{known[0]['id']}"
print(f"watch it at {options.face}/?session={known[0]['id']}", file=sys.stderr)
messages = [{"role": "system", "content": "Answer in short sentences, as in a talk."}]
for turn, line in enumerate(sys.stdin):
    with lock:
        ask(f"{session}/interrupt", {}).close()
        messages.append({"role": "user", "content": line.strip()})
    threading.Thread(target=speak, args=(turn,)).start()
