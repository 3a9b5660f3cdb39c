"""What is said of a text that is spoken, under the names of the OpenAI Realtime events."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Literal

ResponseStatus = Literal["in_progress", "completed", "cancelled", "failed"]

_TRANSCRIPT = "response.output_audio_transcript"


@dataclass(eq=False)
class SpokenText:
    """A text on its way: its sentences, and how many of them have begun to be heard."""

    text: str
    """Whole."""
    sentences: list[str]
    """Of it; more than one, where it is long."""
    name: str = field(default_factory=lambda: f"resp_{secrets.token_hex(8)}")
    """Its id."""
    heard: list[str] = field(default_factory=list)
    """Those that have begun."""
    last: int = 0
    """The number of its last utterance so far; 0 before its first."""

    def tell(self, status: ResponseStatus) -> dict[str, Any]:
        """``response.created`` or ``response.done``."""
        kind = "response.created" if status == "in_progress" else "response.done"
        told = {"id": self.name, "object": "realtime.response", "status": status}
        return {"type": kind, "response": told}

    def tell_sentence(self, sentence: str, place: float) -> dict[str, Any]:
        """A caption: it is heard from this place of the video on."""
        delta = f" {sentence}" if self.heard else sentence
        self.heard.append(sentence)
        return {"type": f"{_TRANSCRIPT}.delta", **self._where, "delta": delta, "time": place}

    def tell_end(self, place: float) -> dict[str, Any]:
        """All that was heard of it is over at this place of the video."""
        heard = " ".join(self.heard)
        return {"type": f"{_TRANSCRIPT}.done", **self._where, "transcript": heard, "time": place}

    @property
    def _where(self) -> dict[str, Any]:
        item = self.name.replace("resp_", "item_", 1)
        names = {"response_id": self.name, "item_id": item}
        return {**names, "output_index": 0, "content_index": 0}
