"""Opening a live session: its bundle's host, its portrait made ready, its numbers settled."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.conditioning.drives import require_poses
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.errors import PortraitError, SettingError
from echoexport.runtime.inputs.face_choice import choose_face
from echoexport.runtime.inputs.picture_file import StoredPicture
from echoexport.runtime.inputs.portrait import portrait_from_array, whole_picture
from echoexport.runtime.inputs.pose import read_poses
from echoexport.runtime.live.host import LiveHost, LivePicture, LivePortrait
from echoexport.runtime.live.scheduling.clock import MonotonicClock
from echoexport.runtime.live.scheduling.workers import ThreadWorkers
from echoexport.runtime.live.session import LiveSession
from echoexport.runtime.live.settings import REAL, LiveNumbers, LiveSettings, settle_live

_MOST_WORKERS = 8

_HOSTS: WeakKeyDictionary[Bundle, LiveHost] = WeakKeyDictionary()
_LOCK = threading.Lock()


@dataclass(frozen=True)
class FaceChoice:
    """Which part of a portrait is the face, and what moves it."""

    box: tuple[float, float, float, float] | None = None
    """(x0, y0, x1, y1) in the portrait's pixels; wins over ``model``."""
    model: Path | None = None
    """A face detector's file."""
    poses: Path | None = None
    """For bundles that poses drive; they are played forwards and backwards."""


class Conversation(LiveSession):
    """A live session that reads portraits itself, from files or arrays."""

    def __init__(
        self,
        host: LiveHost,
        portrait: LivePortrait,
        numbers: LiveNumbers,
        *,
        cache: ReferenceCache | None,
    ) -> None:
        super().__init__(host, portrait, numbers)
        self._cache = cache
        self._changing: threading.Thread | None = None

    def portrait(
        self,
        picture: str | Path | StoredPicture | NDArray[np.uint8],
        *,
        face: FaceChoice | None = None,
    ) -> None:
        """Another face, as soon as it is ready; until then the one there is goes on.

        ``picture`` is a file or (H, W, 3) uint8 RGB.

        Raises:
            PortraitError, PoseError, SettingError: it cannot be used; nothing changes.
        """
        chosen = read_live_picture(self._host.bundle, picture, face=face)
        ready = threading.Thread(
            target=self._change, args=(chosen,), name="echoexport-live-portrait", daemon=True
        )
        self._changing = ready
        ready.start()

    def close(self) -> None:
        """End, see :meth:`LiveSession.close`."""
        super().close()
        if self._changing is not None and self._changing is not threading.current_thread():
            self._changing.join()

    def _change(self, chosen: LivePicture) -> None:
        """In a thread of its own: the latest that was asked for wins."""
        try:
            ready = self._host.prepare(chosen, self.numbers, cache=self._cache)
        except Exception as error:
            self.fail(error)
            return
        with self._changed:
            if not self._closed and self._changing is threading.current_thread():
                self.show(ready)


def open_live(
    bundle: Bundle,
    portrait: str | Path | StoredPicture | NDArray[np.uint8],
    *,
    face: FaceChoice | None = None,
    cache: ReferenceCache | None = None,
    settings: LiveSettings | None = None,
    **named: Any,
) -> Conversation:
    """A live session of a portrait, a file or (H, W, 3) uint8 RGB.

    ``named`` are fields of :class:`LiveSettings`. The first session of a bundle opens
    its networks for live and measures what drawing costs; all of them share these.

    Raises:
        PortraitError, PoseError, SettingError: what was given cannot be used.
        BackendError: an engine does not open or run.
        CapacityError: the device has no room for one more session.
    """
    settings = _name_settings(settings, named)
    numbers = settle_live(bundle.manifest, settings)
    chosen = read_live_picture(bundle, portrait, face=face)
    host = find_host(bundle)
    host.warm_up(numbers)
    if settings.steps is None and numbers.pace == REAL and not numbers.deterministic:
        numbers = host.choose_steps(numbers)
    host.measure(numbers)
    ready = host.prepare(chosen, numbers, cache=cache)
    return Conversation(host, ready, numbers, cache=cache)


def find_host(bundle: Bundle) -> LiveHost:
    """What the live sessions of a bundle share, made for the first; it closes with the bundle."""
    with _LOCK:
        host = _HOSTS.get(bundle)
        if host is None or host.closed:
            clock = MonotonicClock()
            workers = ThreadWorkers(count_workers(), clock)
            host = _HOSTS[bundle] = LiveHost(bundle, workers=workers, clock=clock)
            bundle.call_at_close(host.close)
        return host


def count_workers() -> int:
    """One for each core this process may use, up to 8: a call on one thread wastes least."""
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(usable, _MOST_WORKERS)


def read_live_picture(
    bundle: Bundle,
    portrait: str | Path | StoredPicture | NDArray[np.uint8],
    *,
    face: FaceChoice | None,
) -> LivePicture:
    """A portrait at the bundle's size, with what drives it.

    Raises:
        PortraitError, PoseError: a file that cannot be used.
        SettingError: poses for a bundle that takes none, or none for one that does.
    """
    chosen = face or FaceChoice()
    size = (bundle.manifest.picture.width, bundle.manifest.picture.height)
    if isinstance(portrait, np.ndarray):
        if chosen.box is not None or chosen.model is not None:
            raise SettingError("a face box or model goes with a file, not with an array")
        crop = whole_picture(portrait_from_array(portrait), size=size)
    elif isinstance(portrait, (str, Path, StoredPicture)):
        crop, _ = choose_face(portrait, size, box=chosen.box, model=chosen.model)
    else:
        raise PortraitError(f"portrait {portrait!r}: a file's name or an array is wanted")
    require_poses(bundle.manifest, chosen.poses)
    poses = None if chosen.poses is None else read_poses(chosen.poses, size=size)
    return LivePicture(crop.picture, mask=crop.mask, poses=poses)


def _name_settings(settings: LiveSettings | None, named: dict[str, Any]) -> LiveSettings:
    known = vars(settings or LiveSettings())
    for name in named:
        if name not in known:
            raise SettingError(f"no live setting {name!r}; known: {', '.join(known)}")
    return LiveSettings(**{**known, **named})
