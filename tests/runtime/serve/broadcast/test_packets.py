"""What is sent without a container: one packet of sound for each picture, on the same clock."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import av
import numpy as np

from echoexport.runtime import LiveFrame
from echoexport.runtime.serve.broadcast.encoder import SOUND_RATE, LiveEncoder
from echoexport.runtime.serve.broadcast.packets import AUDIO, VIDEO, MediaPacket, OpusEncoder
from echoexport.runtime.serve.broadcast.viewers import Audience

FPS = Fraction(25)
PER_FRAME = 1920


def make_frame(index: int, samples: np.ndarray | None = None) -> LiveFrame:
    silence = np.zeros(0, np.float32)
    sound = silence if samples is None else samples
    picture = np.full((64, 64, 3), 5 * index % 256, np.uint8)
    return LiveFrame(picture, sound, SOUND_RATE, index, index / FPS, epoch=0, state="idle")


def tell_time(packet: MediaPacket) -> float:
    return float(packet.pts * packet.time_base)


def watch(frames: int, *, join_at: int) -> list[MediaPacket]:
    """What a viewer is shown who comes before this frame."""

    async def play() -> list[MediaPacket]:
        audience = Audience(most_viewers=1, most_waiting=1000)
        viewer = None
        with LiveEncoder(
            size=(64, 64), fps=FPS, give=lambda fragment: None, audience=audience
        ) as encoder:
            for index in range(frames):
                if index == join_at:
                    viewer = audience.join(wants_video=False, wants_packets=True)
                    audience.ask_key_frame()
                encoder.write(make_frame(index))
        audience.end("over")
        assert viewer is not None
        found = []
        while (item := await viewer.take()) is not None:
            assert isinstance(item, MediaPacket)
            found.append(item)
        return found

    return asyncio.run(play())


def test_who_joins_begins_at_once_with_a_key_frame_and_its_sound() -> None:
    found = watch(30, join_at=7)
    pictures = [packet for packet in found if packet.kind == VIDEO]
    assert [packet.pts for packet in pictures] == list(range(7, 30))
    assert pictures[0].is_key
    sound = [packet for packet in found if packet.kind == AUDIO]
    assert len(sound) == len(pictures)
    for picture, heard in zip(pictures, sound, strict=True):
        assert abs(tell_time(picture) - tell_time(heard)) < 0.01


def test_pictures_decode_by_themselves() -> None:
    decoder = av.CodecContext.create("h264", "r")
    shown = [
        frame
        for packet in watch(30, join_at=3)
        if packet.kind == VIDEO
        for frame in decoder.decode(av.Packet(packet.data))
    ]
    shown += decoder.decode(None)
    assert len(shown) == 27


def test_sound_is_heard_where_it_was_said() -> None:
    encoder = OpusEncoder(rate=SOUND_RATE, fps=FPS)
    tone = (0.5 * np.sin(np.arange(PER_FRAME) * 0.05)).astype(np.float32)
    packets = [
        packet
        for index in range(20)
        for packet in encoder.encode(make_frame(index, tone if index >= 10 else None))
    ]
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate = SOUND_RATE
    decoder.layout = "mono"
    sound = []
    for packet in packets:
        for frame in decoder.decode(av.Packet(packet.data)):
            sound.append(np.abs(frame.to_ndarray().astype(np.float64)).reshape(-1))
    heard = np.concatenate(sound)
    first = int(np.argmax(heard > 0.3 * heard.max())) + packets[0].pts
    assert abs(first - 10 * PER_FRAME) < 0.01 * SOUND_RATE
