"""Videos as jobs: ordered with a form or a body, told of as they grow, fetched, gone."""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fixtures.live_stage import make_voice
from fixtures.served import OTHER_TOKEN, TOKEN, Served

from echoexport.runtime import open_bundle
from echoexport.runtime.rendering.clip import ClipRequest, make_clip
from echoexport.runtime.rendering.session import Session


def make_wav(seconds: float) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((make_voice(seconds) * 32767).astype("<i2").tobytes())
    return held.getvalue()


def order(served: Served, seconds: float = 1.0, **more: Any) -> Any:
    return served.request("POST", "/v1/videos", **{"content": make_wav(seconds), **more})


def wait_for(served: Served, job: dict[str, Any], *, token: str | None = None) -> dict[str, Any]:
    """The job once it is over."""
    for _ in range(400):
        told: dict[str, Any] = served.request("GET", f"/v1/videos/{job['id']}", token=token).json()
        if told["status"] in ("completed", "failed"):
            return told
        time.sleep(0.05)
    raise AssertionError(told)


def test_a_voice_and_the_first_portrait_become_a_video(served: Served) -> None:
    answer = order(served)
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["location"] == f"/v1/videos/{job['id']}"
    assert (job["object"], job["seconds"]) == ("video", 1.0)
    done = wait_for(served, job)
    assert (done["status"], done["progress"]) == ("completed", 100)
    video = served.request("GET", f"/v1/videos/{job['id']}/video.mp4")
    assert video.headers["content-type"] == "video/mp4"
    assert len(video.content) == done["bytes"]
    with av.open(io.BytesIO(video.content)) as opened:
        assert sum(1 for _ in opened.decode(video=0)) == 24
        assert len(opened.streams.audio) == 1


def test_a_form_brings_its_own_portrait(served: Served, portrait_file: Path) -> None:
    files = {"voice": ("../v.wav", make_wav(0.5)), "portrait": portrait_file.read_bytes()}
    answer = served.request("POST", "/v1/videos", files=files)
    assert answer.status_code == 201
    assert wait_for(served, answer.json())["status"] == "completed"


def test_a_form_may_name_a_portrait(served: Served, portrait_file: Path) -> None:
    files = {"voice": ("v.wav", make_wav(0.5))}
    named = served.request("POST", "/v1/videos", files=files, data={"portrait": portrait_file.stem})
    assert named.status_code == 201
    nobody = served.request("POST", "/v1/videos", files=files, data={"portrait": "nobody"})
    assert nobody.status_code == 404


def test_the_frames_are_those_of_a_run(
    served: Served, null_bundle: Path, portrait_file: Path, tmp_path: Path
) -> None:
    job = order(served).json()
    wait_for(served, job)
    beside = served.request("GET", f"/v1/videos/{job['id']}/video.mp4").content
    voice = tmp_path / "voice.wav"
    voice.write_bytes(make_wav(1))
    with open_bundle(null_bundle) as bundle, Session(bundle) as session:
        make_clip(session, ClipRequest(portrait_file, voice, str(tmp_path / "run.mp4")))
    pictures = [
        np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
        for video in (av.open(io.BytesIO(beside)), av.open(str(tmp_path / "run.mp4")))
    ]
    np.testing.assert_array_equal(*pictures)


def test_progress_is_told_until_the_end(served: Served) -> None:
    import httpx

    job = order(served, 2).json()
    with httpx.stream("GET", f"{served.url}/v1/videos/{job['id']}/events", timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    events = [json.loads(line.partition(": ")[2]) for line in lines if line.startswith("data")]
    assert lines[::2] == ["event: progress"] * len(events)
    assert events[-1]["status"] == "completed"
    shares = [event["progress"] for event in events]
    assert shares == sorted(shares)


def test_a_part_of_a_video_can_be_fetched(served: Served) -> None:
    job = order(served).json()
    wait_for(served, job)
    path = f"/v1/videos/{job['id']}/video.mp4"
    part = served.request("GET", path, headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    past = served.request("GET", path, headers={"range": "bytes=99999999-"})
    assert past.status_code == 416


def test_a_job_that_is_dropped_is_gone_with_its_video(served: Served) -> None:
    job = order(served).json()
    wait_for(served, job)
    kept = list(served.videos.glob("*.mp4"))
    assert len(kept) == 1
    assert served.request("DELETE", f"/v1/videos/{job['id']}").status_code == 204
    assert not kept[0].exists()
    for end in ("", "/video.mp4", "/events"):
        assert served.request("GET", f"/v1/videos/{job['id']}{end}").status_code == 404


def test_a_job_that_runs_ends_when_it_is_dropped(served: Served) -> None:
    long = order(served, 120).json()
    for _ in range(200):
        if served.request("GET", f"/v1/videos/{long['id']}").json()["status"] == "in_progress":
            break
        time.sleep(0.02)
    assert served.request("DELETE", f"/v1/videos/{long['id']}").status_code == 204
    begun = time.monotonic()
    assert wait_for(served, order(served, 0.5).json())["status"] == "completed"
    assert time.monotonic() - begun < 10
    left = [path.name for path in served.videos.iterdir()]
    assert not any(long["id"] in name for name in left)


def test_a_video_that_is_not_there_yet_is_told_so(served: Served) -> None:
    long = order(served, 120).json()
    early = served.request("GET", f"/v1/videos/{long['id']}/video.mp4")
    assert early.status_code == 409
    assert "its job is" in early.json()["error"]["message"]


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a voice is needed"),
        (b"no sound at all", "no sound file that is taken"),
        (PLAYLIST, "no sound file that is taken"),
        (b"ID3\x04\0\0\0\0\0\0" + PLAYLIST, "the voice: "),
        (b"RIFF\0\0\0\0WAVE", "the voice: "),
        (make_wav(0.05), "at least 0.1 s are needed"),
        (make_wav(3.2), "longer than 3 s"),
    ],
)
def test_a_voice_that_is_none_is_refused(
    serve: Callable[..., Served], content: bytes, words: str
) -> None:
    served = serve(most_video_sound=3.0)
    answer = served.request("POST", "/v1/videos", content=content)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert "/etc" not in answer.text


def test_nobody_sees_anothers_video(serve: Callable[..., Served]) -> None:
    served = serve(tokens=(TOKEN, OTHER_TOKEN))
    job = order(served, token=TOKEN).json()
    wait_for(served, job, token=TOKEN)
    for verb, end in (("GET", ""), ("GET", "/events"), ("GET", "/video.mp4"), ("DELETE", "")):
        path = f"/v1/videos/{job['id']}{end}"
        assert served.request(verb, path, token=OTHER_TOKEN).status_code == 404
        assert served.request(verb, path).status_code == 401
    assert served.request("GET", "/v1/videos", token=OTHER_TOKEN).json() == {"data": []}
    own = served.request("GET", "/v1/videos", token=TOKEN).json()["data"]
    assert [video["id"] for video in own] == [job["id"]]


def test_one_more_than_may_wait_is_told_when_to_come_again(serve: Callable[..., Served]) -> None:
    served = serve(tokens=(TOKEN, OTHER_TOKEN), videos=3, videos_per_token=2)
    for _ in range(2):
        assert order(served, 120, token=TOKEN).status_code == 201
    mine = order(served, token=TOKEN)
    assert (mine.status_code, mine.headers["retry-after"]) == (429, "5")
    assert "of this token" in mine.json()["error"]["message"]
    assert order(served, 120, token=OTHER_TOKEN).status_code == 201
    full = order(served, token=OTHER_TOKEN)
    assert full.status_code == 429
    assert "3 videos wait or run" in full.json()["error"]["message"]


@pytest.mark.parametrize("bound", [{"kept_videos": 1}, {"kept_jobs": 1}], ids=str)
def test_what_is_kept_too_long_or_is_too_much_goes(
    serve: Callable[..., Served], bound: dict[str, int]
) -> None:
    served = serve(**bound)
    jobs = [order(served, 0.5).json() for _ in range(3)]
    wait_for(served, jobs[-1])
    time.sleep(1.5)
    left = served.request("GET", "/v1/videos").json()["data"]
    assert [job["id"] for job in left] == [jobs[-1]["id"]]
    assert len(list(served.videos.iterdir())) == 1
    brief = serve(kept_for=0.5)
    wait_for(brief, order(brief).json())
    time.sleep(2.0)
    assert brief.request("GET", "/v1/videos").json() == {"data": []}
    assert list(brief.videos.iterdir()) == []


def test_the_queue_is_in_the_figures(served: Served) -> None:
    job = order(served, 120).json()
    assert "echoexport_videos_waiting 1.0" in served.request("GET", "/metrics").text
    served.request("DELETE", f"/v1/videos/{job['id']}")
    wait_for(served, order(served).json())
    text = served.request("GET", "/metrics").text
    assert "echoexport_videos_waiting 0.0" in text
    assert "echoexport_videos_kept_bytes 0.0" not in text


def test_a_defect_fails_the_job_and_the_next_one_works(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret path")

    with monkeypatch.context() as broken:
        broken.setattr("echoexport.runtime.serve.videos.desk.make_clip", break_down)
        failed = wait_for(served, order(served).json())
    assert failed["status"] == "failed"
    assert failed["error"]["status"] == 500
    assert "secret" not in json.dumps(failed)
    assert any("a secret path" in line.get("trace", "") for line in served.log)
    assert wait_for(served, order(served).json())["status"] == "completed"


def test_videos_of_a_server_that_was_killed_are_cleared_at_the_next_start(
    start_command: Callable[..., Any],
    serve: Callable[..., Served],
    null_bundle: Path,
    portrait_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import httpx

    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    running = start_command(
        "serve",
        null_bundle,
        *("-p", portrait_file, "--port", "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = running.stdout.readline().decode().split()[1].rstrip("/")
        job = httpx.post(f"{url}/v1/videos", content=make_wav(0.5), timeout=20).json()
        while httpx.get(f"{url}/v1/videos/{job['id']}").json()["status"] != "completed":
            time.sleep(0.1)
    finally:
        running.kill()
        running.communicate()
    left = list(place.iterdir())
    assert [len(list(folder.glob("*.mp4"))) for folder in left] == [1]
    served = serve()
    assert served.videos.parent == place
    assert not left[0].exists()
