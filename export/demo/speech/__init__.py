"""Speech whose mouths are known: espeak-ng says a sentence and tells when each sound starts."""

from __future__ import annotations

from echoexport.export.demo.speech.clips import STATE_RATE, SpeechClip, speak_clip, write_wave
from echoexport.export.demo.speech.corpus import build_corpus, load_corpus
from echoexport.export.demo.speech.espeak import is_available
from echoexport.export.demo.speech.motion import animate
from echoexport.export.demo.speech.plans import ClipPlan, demo_voice_plan, plan_clips

__all__ = [
    "STATE_RATE",
    "ClipPlan",
    "SpeechClip",
    "animate",
    "build_corpus",
    "demo_voice_plan",
    "is_available",
    "load_corpus",
    "plan_clips",
    "speak_clip",
    "write_wave",
]
