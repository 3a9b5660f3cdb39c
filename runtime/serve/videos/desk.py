"""Takes orders for videos, renders one after another, keeps what is done for a while."""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic

from echoexport.runtime.errors import CapacityError, DeviceError, EchoExportError, OutputError
from echoexport.runtime.files.temporary import temporary_folder
from echoexport.runtime.live.offline import SpareBundle
from echoexport.runtime.live.opening import find_host
from echoexport.runtime.live.scheduling.spare import SpareStoppedError
from echoexport.runtime.progress import Progress
from echoexport.runtime.rendering.clip import ClipRequest, make_clip
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.serve.log import ServeLog, shorten
from echoexport.runtime.serve.refusals import Refusal, RefusedError, explain_error, refuse
from echoexport.runtime.serve.settings import ServeSettings
from echoexport.runtime.serve.table import SessionTable
from echoexport.runtime.serve.videos.job import DONE, QUEUED, RUNNING, VideoJob, VideoOrder

_NICER = 10  # of the thread that reads, encodes and writes; sessions' threads have 0
_LOOK = 0.5  # seconds
_LARGE = 256 * 2**20  # bytes of weights from which on networks are opened for each job anew


class VideoDesk:
    """Jobs of all users. A server that is restarted forgets them."""

    def __init__(self, table: SessionTable, settings: ServeSettings, *, log: ServeLog) -> None:
        self._table = table
        self._settings = settings
        self._log = log
        self._jobs: OrderedDict[str, VideoJob] = OrderedDict()
        self._changed = threading.Condition()
        self._stopped = False
        self._running: VideoJob | None = None
        self._thread: threading.Thread | None = None
        self._opened = ExitStack()
        self._folder: Path | None = None
        self._session: Session | None = None

    def open(self) -> None:
        """Clear what a server that was killed left behind, and make a place for videos."""
        watch = self._table.figures.watch
        watch("videos_waiting", "Jobs for videos that wait or run.", self._count_open)
        watch("videos_queue_age_seconds", "How long the oldest of them has waited.", self._find_age)
        watch("videos_kept_bytes", "Videos that are done.", self._measure_kept)
        try:
            self._folder = self._opened.enter_context(temporary_folder("videos"))
        except OutputError as error:  # live sessions need no such place
            self._log.tell("no videos", reason=str(error))

    def close(self) -> None:
        """Drop every job, its video too."""
        with self._changed:
            self._stopped = True
            jobs = list(self._jobs.values())
            self._changed.notify_all()
        for job in jobs:
            job.gone.set()
        if self._thread is not None:
            self._thread.join()
        for job in jobs:
            self.drop(job)
        self._opened.close()

    def require_room(self, owner: str) -> None:
        """Refuse one more order, before anything is read of it.

        Raises:
            CapacityError: as many wait or run as may, of all or of this owner.
            RefusedError: the server warms up or stops, or has no place for videos.
        """
        if self._stopped or not self._table.warm:
            raise RefusedError(refuse(503, "the server warms up, or stops"))
        if self._folder is None:
            raise RefusedError(refuse(503, "the server has no temporary folder to write videos to"))
        with self._changed:
            left = [job for job in self._jobs.values() if not job.over]
        if len(left) >= self._settings.videos:
            raise CapacityError(f"{len(left)} videos wait or run, and no more may")
        mine = sum(job.owner == owner for job in left)
        if mine >= self._settings.videos_per_token:
            raise CapacityError(f"{mine} videos of this token wait or run, and no more may")

    def submit(self, order: VideoOrder) -> VideoJob:
        """Queue one. Raises as :meth:`require_room` does."""
        size = len(order.voice.content) if isinstance(order.voice.content, bytes) else 0
        held = self._table.budget.take(size + len(getattr(order.portrait, "content", None) or b""))
        try:
            with self._changed:
                self.require_room(order.owner)
                job = VideoJob(secrets.token_urlsafe(24), order, held=held)
                self._jobs[job.name] = job
                self._start()
                self._changed.notify_all()
        except BaseException:
            held.give_back()
            raise
        self._log.tell("video ordered", job=shorten(job.name), seconds=round(order.seconds, 2))
        return job

    def find(self, name: str, owner: str) -> VideoJob:
        """A job of this owner.

        Raises:
            RefusedError: there is none; another's is none either.
        """
        with self._changed:
            job = self._jobs.get(name)
        if job is None or job.owner != owner:
            raise RefusedError(refuse(404, "no such video"))
        return job

    def list_own(self, owner: str) -> list[VideoJob]:
        """The jobs of an owner, the oldest first."""
        with self._changed:
            return [job for job in self._jobs.values() if job.owner == owner]

    def drop(self, job: VideoJob) -> None:
        """End a job, whatever its state, and forget it."""
        with self._changed:
            self._jobs.pop(job.name, None)
        job.gone.set()
        if job is not self._running:  # else the thread that renders it lets go of it
            job.drop()

    def sweep(self) -> None:
        """Drop what is done for too long, or is too much; the latest is never too much."""
        with self._changed:
            over = sorted((job for job in self._jobs.values() if job.over), key=_find_end)
        kept, count = sum(job.size for job in over), len(over)
        for job in over:
            old = monotonic() - job.ended > self._settings.kept_for
            many = kept > self._settings.kept_videos or count > self._settings.kept_jobs
            if old or (many and job is not over[-1]):
                kept -= job.size
                count -= 1
                self.drop(job)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name="echoexport-videos", daemon=True
            )
            self._thread.start()

    def _work(self) -> None:
        _be_nice()
        with ExitStack() as opened:
            while (job := self._next()) is not None:
                try:
                    self._do(job, opened)
                finally:
                    with self._changed:
                        self._running = None
                    if job.gone.is_set():
                        job.drop()
                    self.sweep()

    def _next(self) -> VideoJob | None:
        """The oldest that waits, once there is one; None at the end."""
        with self._changed:
            while not self._stopped:
                for job in self._jobs.values():
                    if job.state == QUEUED:
                        self._running = job
                        return job
                self._changed.wait(_LOOK)
        return None

    def _do(self, job: VideoJob, opened: ExitStack) -> None:
        """Render it; raises nothing."""
        host = find_host(self._table.bundle)
        host.at_offline = True
        try:
            job.begin()
            self._render(job, opened)
            self._log.tell("video done", job=shorten(job.name), bytes=job.size)
        except SpareStoppedError:
            return
        except Exception as error:
            # An engine of the sessions' that failed has been told of; another is none of theirs.
            if isinstance(error, DeviceError):
                host.note_failure(error)
            if not isinstance(error, (EchoExportError, RefusedError)):
                self._log.fail("a video failed", error, job=shorten(job.name))
            self._fail(job, explain_error(error))
        finally:
            host.at_offline = False

    def _fail(self, job: VideoJob, refusal: Refusal) -> None:
        job.fail(refusal)
        self._session = None  # what failed is opened anew
        self._log.tell("video failed", job=shorten(job.name), reason=refusal.message)

    def _render(self, job: VideoJob, opened: ExitStack) -> None:
        order = job.order
        assert order is not None and self._folder is not None  # it waited until now
        face = self._table.choose_face(order.portrait)
        output = self._folder / f"{job.name}.mp4"
        request = ClipRequest(
            portrait=order.portrait,
            voice=order.voice,
            output=str(output),
            face_box=None if face is None else face.box,
            face_model=None if face is None else face.model,
            poses=None if face is None else face.poses,
        )
        make_clip(self._find_session(opened), request, progress=self._watch(job))
        try:
            job.finish(output)
        except BaseException:
            output.unlink(missing_ok=True)
            raise

    def _watch(self, job: VideoJob) -> Progress:
        def tell(phase: str, done: int, total: int) -> None:
            if job.gone.is_set():
                raise SpareStoppedError
            job.tell(phase, done, total)

        return tell

    def _find_session(self, opened: ExitStack) -> Session:
        """Small networks stay open between jobs: to open them takes the sessions' cores."""
        if self._session is None:
            opened.close()
            host = find_host(self._table.bundle)
            bundle = opened.enter_context(SpareBundle(host, is_stopped=self._is_stopped))
            large = bundle.measure_weights(*bundle.manifest.networks) >= _LARGE
            session = Session(bundle, cache=self._table.cache, frugal=large)
            self._session = opened.enter_context(session)
        return self._session

    def _is_stopped(self) -> bool:
        running = self._running
        return self._stopped or (running is not None and running.gone.is_set())

    def _list(self) -> list[VideoJob]:
        with self._changed:
            return list(self._jobs.values())

    def _count_open(self) -> float:
        return float(sum(job.state in (QUEUED, RUNNING) for job in self._list()))

    def _measure_kept(self) -> float:
        return float(sum(job.size for job in self._list() if job.state == DONE))

    def _find_age(self) -> float:
        waiting = [job.waits_since for job in self._list() if job.state == QUEUED]
        return monotonic() - min(waiting) if waiting else 0.0


def _find_end(job: VideoJob) -> float:
    return job.ended


def _be_nice() -> None:
    """Where the system knows threads, this one and those of its encoders come last."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICER)
