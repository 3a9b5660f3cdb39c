"""Viewers begin at a key frame, get all in its order, and are cut when they do not keep up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any

import pytest

from echoexport.runtime.errors import CapacityError
from echoexport.runtime.serve.broadcast.boxes import Fragment
from echoexport.runtime.serve.broadcast.packets import MediaPacket
from echoexport.runtime.serve.broadcast.viewers import SLOW, Audience, Viewer

HEAD = Fragment(b"head", is_head=True, is_key=False)
KEY = Fragment(b"key", is_head=False, is_key=True)
PACKET = MediaPacket("video", b"packet", 0, Fraction(1, 25), is_key=True)
NEXT = Fragment(b"next", is_head=False, is_key=False)


def run(scene: Callable[[Audience], Awaitable[None]]) -> None:
    """With an audience of two at most, who may lag by four."""

    async def play() -> None:
        await asyncio.wait_for(scene(Audience(most_viewers=2, most_waiting=4)), timeout=5)

    asyncio.run(play())


async def take_all(viewer: Viewer) -> list[Any]:
    found = []
    while (item := await viewer.take()) is not None:
        found.append(item)
    return found


def test_who_comes_later_begins_with_the_head_at_the_next_key_frame() -> None:
    async def scene(audience: Audience) -> None:
        audience.show(HEAD)
        audience.show(KEY)
        late = audience.join()
        for fragment in (NEXT, NEXT, KEY, NEXT):
            audience.show(fragment)
        audience.end("over")
        assert await take_all(late) == [b"head", b"key", b"next"]

    run(scene)


def test_a_greeting_comes_before_everything() -> None:
    async def scene(audience: Audience) -> None:
        audience.show(HEAD)
        viewer = audience.join(greeting={"type": "hello"})
        assert [await viewer.take(), await viewer.take()] == [{"type": "hello"}, b"head"]

    run(scene)


def test_a_viewer_that_waits_is_woken_from_another_thread() -> None:
    async def scene(audience: Audience) -> None:
        viewer = audience.join()
        waiting = asyncio.create_task(viewer.take())
        await asyncio.sleep(0)
        await asyncio.to_thread(audience.tell, {"type": "word"})
        assert await waiting == {"type": "word"}

    run(scene)


def test_who_does_not_keep_up_is_cut_and_the_others_see_on() -> None:
    async def scene(audience: Audience) -> None:
        slow = audience.join()
        quick = audience.join()
        seen = []
        for fragment in (HEAD, KEY, NEXT, NEXT, NEXT, NEXT):
            audience.show(fragment)
            seen.append(await quick.take())
        assert slow.ended == SLOW
        assert await slow.take() is None
        assert len(seen) == 6
        assert (audience.cut, len(audience)) == (1, 1)

    run(scene)


def test_no_more_watch_than_may() -> None:
    async def scene(audience: Audience) -> None:
        first = audience.join()
        audience.join()
        with pytest.raises(CapacityError, match="2 watch"):
            audience.join()
        audience.leave(first)
        audience.join()

    run(scene)


def test_who_joins_what_is_over_is_told_so() -> None:
    async def scene(audience: Audience) -> None:
        audience.end("over")
        viewer = audience.join(greeting={"type": "hello"})
        assert await take_all(viewer) == [{"type": "hello"}]
        assert viewer.ended == "over"

    run(scene)


def test_nothing_is_told_after_the_last_words_and_who_joins_later_hears_them_too() -> None:
    async def scene(audience: Audience) -> None:
        early = audience.join()
        last = {"type": "closed"}
        audience.end("over", last=last)
        early.tell({"type": "late"})
        audience.tell({"type": "late"})
        audience.end("again", last={"type": "late"})
        late = audience.join(greeting={"type": "hello"})
        assert await take_all(early) == [last]
        assert await take_all(late) == [{"type": "hello"}, last]

    run(scene)


def test_one_that_wants_no_video_gets_events_alone() -> None:
    async def scene(audience: Audience) -> None:
        viewer = audience.join(wants_video=False)
        audience.show(HEAD)
        audience.show(KEY)
        audience.tell({"type": "word"})
        audience.end("over")
        assert await take_all(viewer) == [{"type": "word"}]

    run(scene)


def test_a_viewer_whose_loop_is_over_harms_nobody() -> None:
    kept: list[Audience] = []

    async def scene(audience: Audience) -> None:
        audience.join()
        kept.append(audience)

    run(scene)
    kept[0].tell({"type": "word"})
    kept[0].end("over")


def test_packets_are_for_those_who_want_them_and_video_can_be_turned_on() -> None:
    async def scene(audience: Audience) -> None:
        audience.show(HEAD)
        assert not audience.wants_packets
        by_packets = audience.join(wants_video=False, wants_packets=True)
        by_events = audience.join(wants_video=False)
        assert audience.wants_packets
        audience.show_packet(PACKET)
        audience.show(KEY)
        audience.turn_video(by_events, wanted=True)
        audience.show(NEXT)
        audience.show(KEY)
        audience.turn_video(by_events, wanted=False)
        audience.show(KEY)
        audience.end("over")
        assert await take_all(by_packets) == [PACKET]
        assert await take_all(by_events) == [b"head", b"key"]

    run(scene)


def test_a_key_frame_that_is_asked_for_is_asked_for_once() -> None:
    async def scene(audience: Audience) -> None:
        assert not audience.take_key_wish()
        audience.ask_key_frame()
        assert audience.take_key_wish()
        assert not audience.take_key_wish()

    run(scene)
