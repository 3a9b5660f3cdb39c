"""Joins a chat model to a face: what it answers is spoken, sentence by sentence.

Any server of the OpenAI chat interface will do. Write a line and hear the answer; write while
it speaks, and it stops and listens.

    python chat.py --chat http://127.0.0.1:11434 --model llama3.2 --face http://127.0.0.1:8080
"""

import argparse
import itertools
import json
import os
import re
import sys
import threading
import urllib.request

SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+")
lock = threading.Lock()


def ask(url, body=None, token=None, verb=None):
    """An answer that is open to be read; ``body`` goes out as JSON."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=verb))


def think(options, messages):
    """Pieces of the model's answer as it writes them."""
    body = {"model": options.model, "messages": messages, "stream": True}
    url = f"{options.chat}/v1/chat/completions"
    with ask(url, body, os.environ.get("OPENAI_API_KEY")) as answer:
        for line in answer:
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                choices = json.loads(line[5:])["choices"]
                yield (choices[0]["delta"].get("content") or "") if choices else ""


def speak(options, session, messages, interrupted):
    """Say each sentence once it is whole, until somebody interrupts."""
    rest = ""
    for piece in itertools.chain(think(options, messages), ["\n"]):
        *whole, rest = SENTENCE.split(rest + piece)
        for sentence in filter(str.strip, whole):
            with lock:
                if interrupted.is_set():
                    return
                ask(f"{session}/say", {"text": sentence}, options.token).close()
            messages.append({"role": "assistant", "content": sentence})


def main():
    """A conversation on stdin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chat", default="http://127.0.0.1:11434")
    parser.add_argument("--model", default="llama3.2")
    parser.add_argument("--face", default="http://127.0.0.1:8080")
    options = parser.parse_args()
    options.token = os.environ.get("ECHOEXPORT_TOKEN")
    sessions = f"{options.face}/v1/sessions"
    known = json.load(ask(sessions, token=options.token))["data"]  # that of a page that is open
    name = (known or [json.load(ask(sessions, {}, options.token))])[0]["id"]
    sys.stderr.write(f"watch it at {options.face}/?session={name}\n")
    messages = [{"role": "system", "content": "Answer in short sentences, as in a talk."}]
    interrupted = threading.Event()
    for line in sys.stdin:
        with lock:
            interrupted.set()
            ask(f"{sessions}/{name}/interrupt", {}, options.token).close()
        interrupted = threading.Event()
        messages.append({"role": "user", "content": line.strip()})
        words = (options, f"{sessions}/{name}", messages, interrupted)
        threading.Thread(target=speak, args=words).start()


if __name__ == "__main__":
    main()
