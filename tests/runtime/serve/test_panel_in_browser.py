"""The panel in a real Chromium: texts, captions, drops and figures, by hand and by keyboard."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.browser import wait_for, wait_for_video
from fixtures.served import TOKEN, Served

CAPTION = "document.querySelector('#captions span').textContent"
TEXT = "Good morning, all of you. How are you today?"
# As a file manager drops a file; its bytes in base64.
DROP = """([name, type, bytes]) => {
  const data = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([data], name, { type }));
  const options = { bubbles: true, cancelable: true, dataTransfer: transfer };
  return !document.body.dispatchEvent(new DragEvent("drop", options));
}"""


@pytest.fixture
def talking(serve: Callable[..., Served], make_program: Callable[..., Any]) -> Served:
    """A server whose voice says 40 ms for each letter."""
    return serve(voice=make_program())


def drop(page: Any, name: str, kind: str, content: bytes) -> bool:
    """Whether the page took it itself, so that the browser does not open it."""
    taken: bool = page.evaluate(DROP, [name, kind, base64.b64encode(content).decode()])
    return taken


def say(page: Any, text: str = TEXT) -> None:
    page.get_by_role("textbox", name="Say a text").fill(text)
    page.get_by_role("button", name="Say it").click()


def test_a_text_is_spoken_with_captions_that_come_with_its_sound(
    talking: Served, page: Any
) -> None:
    page.goto(f"{talking.url}/?panel")
    wait_for_video(page)
    page.evaluate(
        f"""() => {{
          window.seen = [];
          new MutationObserver(() => seen.push([{CAPTION}, face.currentTime]))
            .observe(document.getElementById("captions"), {{ childList: true, subtree: true }});
        }}"""
    )
    say(page)
    wait_for(page, "seen.length === 3")
    (first, began), (second, went_on), (last, _) = page.evaluate("seen")
    assert (first, second, last) == ("Good morning, all of you.", "How are you today?", "")
    # 25 letters at 40 ms.
    assert 0.7 < went_on - began < 1.6
    wait_for(page, "document.getElementById('first').textContent.includes('ms (server')")
    assert page.said == []


def test_escape_stops_the_speech_and_its_captions_at_once(talking: Served, page: Any) -> None:
    page.goto(f"{talking.url}/?panel")
    wait_for_video(page)
    say(page, " ".join([TEXT] * 8))
    wait_for(page, CAPTION)
    page.keyboard.press("Escape")
    wait_for(page, f"!{CAPTION}")
    wait_for(page, "document.getElementById('state').textContent === 'idle'")
    page.wait_for_timeout(1500)
    assert page.evaluate(CAPTION) == ""


def test_captions_are_switched_by_key_by_box_and_by_address(talking: Served, page: Any) -> None:
    page.goto(f"{talking.url}/?panel&captions=0")
    wait_for_video(page)
    box = page.get_by_role("checkbox", name="Captions")
    assert not box.is_checked()
    assert page.locator("#captions").is_hidden()
    page.locator("#title").focus()
    page.keyboard.press("c")
    assert box.is_checked()
    box.uncheck()
    assert page.evaluate("document.getElementById('captions').hidden")


def test_typing_a_text_is_no_command(talking: Served, page: Any) -> None:
    page.goto(f"{talking.url}/?panel")
    wait_for_video(page)
    page.get_by_role("textbox", name="Say a text").press_sequentially("pc")
    assert page.locator("#panel").is_visible()
    assert page.get_by_role("checkbox", name="Captions").is_checked()


def test_without_a_voice_there_is_no_field_and_the_page_says_so(served: Served, page: Any) -> None:
    page.goto(f"{served.url}/?panel")
    wait_for_video(page)
    page.get_by_text("This server has no voice for texts.").wait_for()
    assert page.locator("#say").is_hidden()


def test_a_voice_that_fails_is_told_on_the_page(
    serve: Callable[..., Served], make_program: Callable[..., Any], page: Any
) -> None:
    served = serve(voice=make_program("sys.exit('no model')"))
    page.goto(f"{served.url}/?panel")
    wait_for_video(page)
    say(page)
    wait_for(page, "document.getElementById('told').textContent.includes('program failed')")
    assert "program failed" in page.locator("#notice").inner_text()


def test_the_figures_are_measured_in_the_browser(served: Served, page: Any) -> None:
    page.goto(f"{served.url}/?panel")
    wait_for_video(page, 3.0)
    figures = {name: page.inner_text(f"#{name}") for name in ("rate", "offset", "ladder", "late")}
    assert float(figures["rate"]) > 1
    assert abs(float(figures["offset"].removesuffix(" ms"))) < 200
    assert "step" in figures["ladder"]
    assert figures["late"].isdecimal()


def test_a_picture_and_a_voice_are_dropped_anywhere(
    served: Served, page: Any, portrait_file: Path, make_voice: Callable[..., Path]
) -> None:
    page.goto(f"{served.url}/?panel")
    wait_for_video(page)
    assert drop(page, "new.png", "image/png", portrait_file.read_bytes())
    wait_for(page, "document.getElementById('portraits').selectedOptions[0].text === 'new.png'")
    assert drop(page, "hello.wav", "audio/wav", make_voice(seconds=2).read_bytes())
    wait_for(page, "document.getElementById('state').textContent === 'speaking'")
    assert drop(page, "words.txt", "text/plain", b"no sound")
    wait_for(page, "document.getElementById('told').textContent.includes('words.txt')")


def test_what_is_dropped_does_not_take_the_pages_place(served: Served, page: Any) -> None:
    page.goto(served.url)
    wait_for_video(page)
    assert drop(page, "words.txt", "text/plain", b"no sound")


def test_every_control_is_reached_by_keyboard_and_has_a_name(talking: Served, page: Any) -> None:
    page.goto(talking.url)
    wait_for_video(page)
    page.keyboard.press("p")
    wait_for(page, "document.activeElement.id === 'title'")
    reached = []
    for _ in range(10):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.type"))
    expected = ["close", "text", "submit", "microphone", "stop", "portraits", "upload", "voice"]
    assert reached == [*expected, "webrtc", "captioned"]
    panel = page.get_by_role("complementary", name="Panel")
    for role, name in (
        ("textbox", "Say a text"),
        ("button", "Say it"),
        ("button", "Microphone"),
        ("button", "Stop speaking"),
        ("button", "Close"),
        ("combobox", "Portrait"),
        ("button", "Another portrait"),
        ("button", "Voice file"),
        ("checkbox", "Captions"),
    ):
        assert panel.get_by_role(role, name=name).first.is_visible(), name
    assert page.get_by_role("log", name="Captions").count() == 1
    page.get_by_role("button", name="Close").click()
    panel.wait_for(state="hidden")


@pytest.mark.parametrize(
    ("width", "height"), [(390, 844), (1080, 1920), (1920, 1080), (3840, 2160)]
)
def test_the_panel_and_the_captions_leave_the_face_in_sight(
    talking: Served, page: Any, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{talking.url}/?panel")
    wait_for_video(page, 0.2)
    say(page, "This is a sentence of more than a hundred letters, " * 2 + "as long as one may be.")
    wait_for(page, CAPTION)
    face, panel, caption = (
        page.locator(place).bounding_box() for place in ("#face", "#panel", "#captions span")
    )
    beside = face["x"] + face["width"] <= panel["x"] + 1
    above = face["y"] + face["height"] <= panel["y"] + 1
    assert beside or above
    assert min(face["width"], face["height"]) >= 0.45 * min(width, height)
    assert caption["x"] >= 0 and caption["x"] + caption["width"] <= width
    assert (
        face["y"] <= caption["y"] and caption["y"] + caption["height"] <= face["y"] + face["height"]
    )
    assert caption["height"] < 0.6 * face["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("panel.scrollWidth <= panel.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(served: Served, page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{served.url}/?panel")
    colours = page.evaluate(
        """() => {
          const style = getComputedStyle(document.documentElement);
          const names = ["ground", "ink", "soft", "sheet", "field", "act", "on-act", "alarm"];
          return Object.fromEntries(names.map((n) => [n, style.getPropertyValue(`--${n}`).trim()]));
        }"""
    )
    for ink, ground in (
        *(("ink", ground) for ground in ("ground", "sheet", "field")),
        ("soft", "sheet"),
        ("alarm", "sheet"),
        ("on-act", "act"),
    ):
        assert measure_contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def measure_contrast(ink: str, ground: str) -> float:
    """As WCAG has it; what lets a little through is taken as solid."""
    lights = sorted((measure_light(ink), measure_light(ground)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def measure_light(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_a_page_that_may_not_come_in_says_why(serve: Callable[..., Served], page: Any) -> None:
    served = serve(tokens=(TOKEN,))
    page.goto(f"{served.url}/?token={TOKEN}")
    wait_for_video(page)
    page.context.clear_cookies()
    served.table.list_own(next(iter(served.table._sessions.values())).identity.owner)[0].close(
        "over"
    )
    wait_for(page, "notice.textContent.includes('a token is needed')")


def test_a_page_that_finds_no_room_says_why_and_gets_in_later(
    serve: Callable[..., Served], page: Any
) -> None:
    served = serve(sessions=1)
    taken = served.request("POST", "/v1/sessions").json()["id"]
    page.goto(served.url)
    wait_for(page, "notice.textContent.includes('no more may be')")
    served.request("DELETE", f"/v1/sessions/{taken}")
    wait_for_video(page)
    assert page.locator("#notice").is_hidden()
