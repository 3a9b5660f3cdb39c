"""The floors inside the runtime, no circles anywhere, and no folder with too much in it.

Imports inside functions and those for types count like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from fixtures.house import ROOMS, files_of, imports_of, inside, module_of

# From the top down: a wing imports from floors below its own.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"serve"}),
    frozenset({"live"}),
    frozenset({"rendering"}),
    frozenset({"conditioning", "sampling", "decoding", "sinks"}),
    frozenset({"bundle", "inputs"}),
    frozenset({"backends"}),
    frozenset({"engine"}),
    frozenset({"trace"}),
    frozenset({"contract", "device"}),
    frozenset({"files"}),
    frozenset({"errors", "progress"}),
)
FLOOR_OF = {wing: number for number, wings in enumerate(FLOORS) for wing in wings}
# What live may take of rendering, a floor below it.
LIVE_TAKES = "echoexport.runtime.rendering.settings"

# The one way up, which users asked for: ``bundle.live(...)`` is how a conversation begins.
DOORS = {("echoexport.runtime.bundle.opened", "echoexport.runtime.live.opening")}

MOST_FILES = 16  # of a folder, but for __init__.py


def read_house() -> dict[str, str]:
    """Every module's source by its place."""
    return {inside(path): path.read_text("utf-8") for path in files_of(*ROOMS)}


def list_imports(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Each module to those of the sources that it imports, whole modules and names in them."""
    modules = {module_of(place) for place in sources}
    found: dict[str, set[str]] = {}
    for place, source in sources.items():
        names = {item.name for item in imports_of(source, place)}
        reached = {name if name in modules else name.rpartition(".")[0] for name in names}
        here = module_of(place)
        doors = {inner for outer, inner in DOORS if outer == here}
        found[here] = reached & modules - {here} - doors
    return found


def list_climbs(sources: Mapping[str, str]) -> list[str]:
    """Imports inside the runtime that do not lead down, as `module -> module`."""
    found = []
    for module, imported in list_imports(sources).items():
        wing = wing_of(module)
        for other in sorted(imported):
            below = wing_of(other)
            if wing is None or below is None or wing == below:
                continue
            stranger = wing == "live" and below == "rendering" and other != LIVE_TAKES
            if stranger or FLOOR_OF[wing] >= FLOOR_OF[below]:
                found.append(f"{module} -> {other}")
    return found


def wing_of(module: str) -> str | None:
    """The wing of a runtime's module, None for the face and for other rooms."""
    parts = module.split(".")
    return parts[2] if parts[1] == "runtime" and len(parts) > 2 else None


def list_circles(sources: Mapping[str, str]) -> list[list[str]]:
    """Groups of modules each of which leads back to itself by way of the others.

    By taking away, again and again, whatever imports nothing that is left, and then
    whatever nothing imports.
    """
    left = {module: set(imported) for module, imported in list_imports(sources).items()}
    changed = True
    while changed:
        imported = set().union(*left.values()) if left else set()
        gone = {name for name, others in left.items() if not others or name not in imported}
        left = {name: others - gone for name, others in left.items() if name not in gone}
        changed = bool(gone)
    return [sorted(left)] if left else []


def count_files(places: list[str]) -> dict[str, int]:
    """Folders that hold more files than they should, and how many."""
    counts = Counter(
        Path(place).parent.as_posix() for place in places if Path(place).name != "__init__.py"
    )
    return {folder: count for folder, count in counts.items() if count > MOST_FILES}


def test_the_runtimes_wings_import_downwards_only() -> None:
    assert list_climbs(read_house()) == []


def test_every_wing_of_the_runtime_has_a_floor() -> None:
    wings = {wing for place in read_house() if (wing := wing_of(module_of(place))) is not None}
    assert wings - FLOOR_OF.keys() == set()


def test_no_module_leads_back_to_itself() -> None:
    assert list_circles(read_house()) == []


def test_no_folder_of_a_room_holds_too_many_files() -> None:
    assert count_files(list(read_house())) == {}


@pytest.mark.parametrize(
    "source",
    [
        "from echoexport.runtime.sampling import windows",
        "def choose():\n    from echoexport.runtime.sampling.windows import Windows",
        "if TYPE_CHECKING:\n    from echoexport.runtime.sampling.windows import Windows",
        "from ..sampling import windows",
    ],
)
def test_an_import_that_climbs_is_seen_wherever_it_stands(source: str) -> None:
    house = {"runtime/bundle/choice.py": source, "runtime/sampling/windows.py": ""}
    assert list_climbs(house) == [
        "echoexport.runtime.bundle.choice -> echoexport.runtime.sampling.windows"
    ]


def test_an_import_from_a_neighbour_on_the_same_floor_is_a_climb() -> None:
    house = {
        "runtime/sinks/mp4.py": "from echoexport.runtime.decoding.pixels import to_pixels",
        "runtime/decoding/pixels.py": "",
    }
    assert len(list_climbs(house)) == 1


def test_live_takes_the_settings_of_rendering_and_nothing_else() -> None:
    house = {
        "runtime/live/session.py": (
            "from echoexport.runtime.rendering.settings import RenderSettings\n"
            "from echoexport.runtime.rendering.clip import make_clip"
        ),
        "runtime/rendering/settings.py": "",
        "runtime/rendering/clip.py": "",
    }
    assert list_climbs(house) == [
        "echoexport.runtime.live.session -> echoexport.runtime.rendering.clip"
    ]


def test_a_circle_through_a_function_is_seen_and_who_only_looks_at_it_is_not() -> None:
    house = {
        "export/a.py": "from echoexport.export.b import one",
        "export/b.py": "def one():\n    from echoexport.export.c import two",
        "export/c.py": "if TYPE_CHECKING:\n    import echoexport.export.a",
        "export/d.py": "from echoexport.export import a",
        "targets/e.py": "",
    }
    assert list_circles(house) == [
        ["echoexport.export.a", "echoexport.export.b", "echoexport.export.c"]
    ]
    assert list_circles({**house, "export/c.py": ""}) == []


def test_a_folder_that_is_too_full_is_named() -> None:
    places = [f"export/wing/file_{number}.py" for number in range(MOST_FILES + 1)]
    assert count_files(places) == {"export/wing": MOST_FILES + 1}
    assert count_files([*places[1:], "export/wing/__init__.py"]) == {}


def test_only_serve_knows_of_asyncio_and_the_web() -> None:
    web = {"asyncio", "starlette", "uvicorn", "websockets", "prometheus_client", "grpc", "aiortc"}
    found = {
        place
        for place, source in read_house().items()
        for item in imports_of(source, place)
        if item.package in web and not place.startswith("runtime/serve/")
    }
    # Who iterates a live session with ``async for`` has a loop of his own.
    assert found == {"runtime/live/session.py"}
