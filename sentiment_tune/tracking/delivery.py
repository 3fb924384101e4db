"""The way of a run's writes into MLflow: at once, or by way of a journal while MLflow is away.

Each write can be made twice and is there once: its times are those of its first try. So whatever is in doubt, since an
answer was lost or a process was killed, is made again.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import mlflow

from sentiment_tune import signals
from sentiment_tune.errors import OutageError
from sentiment_tune.events import Listener, WarningMessage, ignore
from sentiment_tune.local import lock
from sentiment_tune.tracking import server
from sentiment_tune.tracking.journal import Journal, Kind, Write, note_taken
from sentiment_tune.tracking.outages import Attempt, cannot_be_taken, is_locked, reason_of
from sentiment_tune.tracking.schema import Tag
from sentiment_tune.tracking.sending import send

ANSWER, FILES_ANSWER = 10.0, 120.0  # seconds for MLflow to take a write, and one of files
PROBE, PAUSE = 0.5, 5.0  # seconds to wait for an answer while MLflow is away, and from one try to the next
BACK, UNLOCKED = 15.0, 60.0  # seconds at a run's end for MLflow to be back, and for others to unlock its database
HURRY = 2.0  # seconds for each, where somebody wants the process to end
BEAT = 60  # seconds between signs of life
UPLOAD = 600.0  # seconds for what was kept to be brought in


@dataclass
class _Told:
    """What this process has told its user, and what it has still to deliver of runs that have ended."""

    away: bool = False
    left: "list[Delivery]" = field(default_factory=list)


_told = _Told()


class Delivery:
    """The writes of one run on their way to MLflow."""

    def __init__(self, run_id: str, listener: Listener = ignore):
        self.run_id, self.address = run_id, server.tracking_uri()
        self.is_in_hurry = False
        self._listener = listener
        self._database = _identity()
        self._journal = Journal(run_id)
        self._pending = self._journal.pending()
        self._lock = threading.Lock()  # of the pending writes, and of the journal's notes of them
        self._attempt: Attempt[None] | None = None
        self._tried = 0.0
        self._is_away = bool(self._pending)  # a process before this one has left them
        self._error: Exception | None = None

    def write(self, write: Write) -> None:
        """Have MLflow take a write, now or when it is back; raises what MLflow says of one that is wrong."""
        with self._lock:
            self._pending.append(write)
        answer = FILES_ANSWER if write.kind in (Kind.FILE, Kind.MODEL) else ANSWER
        try:
            self._deliver(PROBE if self._is_away else HURRY if self.is_in_hurry else answer, PAUSE)
        except KeyboardInterrupt:
            if write.kind == Kind.MODEL:  # its folder goes now, and a training that is resumed makes it anew
                self._drop(write)
            raise

    def end(self, status: str) -> str | None:
        """End the run; what is to be told if MLflow has not taken all, for which it may be back in a while."""
        self.write(Write(Kind.END, {"status": status, "time": time.time_ns() // 1_000_000}))
        begun = time.monotonic()
        while self._pending and time.monotonic() - begun < self._patience:
            time.sleep(0.2)
            if signals.was_asked():
                self.is_in_hurry = True
            self._deliver(PROBE, 1)
        if not self._pending:
            return None
        _told.left.append(self)
        return self.told

    @property
    def _patience(self) -> float:
        if self.is_in_hurry:
            return HURRY
        return UNLOCKED if self._is_locked else BACK

    @property
    def _is_locked(self) -> bool:
        """Whether MLflow is a database that another process has locked: a file gives no other reason to wait."""
        waits = isinstance(self._error, TimeoutError) and self._database is not None
        return waits or (self._error is not None and is_locked(self._error))

    @property
    def is_lost(self) -> bool:
        """Whether something has not been delivered that is on no disk either."""
        return any(write.journal is None for write in self._pending)

    @property
    def told(self) -> str:
        """What became of a run that could not be delivered."""
        if self.is_lost:
            lost = sum(write.journal is None for write in self._pending)
            return f"run {self.run_id}: MLflow is away ({self._reason}), and no disk takes {lost} of the run's writes"
        return (
            f"run {self.run_id}: MLflow is away ({self._reason}); what it has not taken is in "
            f"{self._journal.folders[-1]}, and `sentiment-tune upload` brings it in"
        )

    @property
    def _reason(self) -> str:
        if isinstance(self._error, TimeoutError) and self._database:
            return "its database is locked"
        return reason_of(self._error) if self._error else "no answer"

    def deliver_left(self) -> bool:
        """Try once more what was kept; whether all of it is there now."""
        if self._pending:
            self._deliver(ANSWER, 0)
        return not self._pending

    def replay(self) -> None:
        """Bring in all that is pending, and end the run where its process has not come to it; OutageError."""
        is_ended = any(write.kind == Kind.END for write in self._pending)
        if not is_ended and mlflow.get_run(self.run_id).info.status == "RUNNING":
            self._pending.append(
                Write(Kind.VALUES, {"tags": {Tag.ERROR: "the process that ran this training is gone"}})
            )
            self._pending.append(Write(Kind.END, {"status": "KILLED", "time": time.time_ns() // 1_000_000}))
        try:
            Attempt(self._send_pending).answer(UPLOAD)
        except Exception as error:
            raise OutageError(f"run {self.run_id}: MLflow does not take what was kept: {reason_of(error)}") from error
        self._journal.delete()

    def _deliver(self, wait: float, pause: float) -> None:
        """Send what is pending in a thread of its own, for whose answer this one waits a while, and keep the rest."""
        begun = self._attempt if self._attempt is not None and self._attempt.is_under_way else None
        if not begun and self._is_away and time.monotonic() - self._tried < pause:
            self._keep()
            return
        try:
            if begun:  # which knows nothing of what came later
                begun.answer(wait)
            self._attempt, self._tried = Attempt(self._send_pending), time.monotonic()
            self._attempt.answer(wait)
        except Exception as error:
            if not cannot_be_taken(error):
                raise
            self._error = error if self._error is None or not isinstance(error, TimeoutError) else self._error
        self._keep()

    def _send_pending(self) -> None:
        """Send the pending writes in their order. Files that find no place hold up nothing but a run's good end."""
        _expect_database(self._database)
        failed: Exception | None = None
        for write in list(self._pending):
            if failed and (write.values.get("status") == "FINISHED" or "untag" in write.values):  # they stand for files
                continue
            try:
                send(self.run_id, write)
            except Exception as error:
                if write not in self._pending:  # it was given up meanwhile, and its folder is gone
                    continue
                if not cannot_be_taken(error):
                    self._refuse(write, error)
                write.is_in_doubt, failed = True, failed or error
                if write.kind not in (Kind.FILE, Kind.MODEL):
                    raise
            else:
                self._drop(write)
                if write.is_new:  # so nothing behind it was taken before
                    self._trust_later()
        if failed:
            raise failed

    def _drop(self, write: Write) -> None:
        """Have a write done with."""
        with self._lock:
            if write in self._pending:
                self._pending.remove(write)
                note_taken(write)

    def _trust_later(self) -> None:
        """Values are sent in their order: once some have not been there, no later ones are looked for."""
        for write in list(self._pending):
            write.is_in_doubt = write.is_in_doubt and write.kind != Kind.VALUES

    def _refuse(self, write: Write, error: Exception) -> None:
        """Raise what is wrong with a write; one that is kept stays, and so does all behind it."""
        with self._lock:
            if write.journal is None:
                self._pending.remove(write)
                raise error
        raise OutageError(f"MLflow refuses what was kept: {reason_of(error)}") from None

    def _keep(self) -> None:
        """Have what is still pending on a disk, and tell the user when MLflow goes away and when it is back."""
        with self._lock:
            for write in self._pending:
                if write.journal is None:
                    self._journal.keep(write)
            pending = list(self._pending)
        if not pending and self._is_away:
            self._journal.delete()
            self._tell_back()
        elif pending and not self._is_away:
            self._tell_away(all(write.journal for write in pending))
        self._is_away = bool(pending)

    def _tell_away(self, is_kept: bool) -> None:
        if not _told.away:
            place = (
                f"is kept in {self._journal.folders[-1]}" if is_kept else "is kept in memory, since no disk takes it"
            )
            self._listener(
                WarningMessage(f"MLflow is away ({self._reason}): training goes on, and what it logs {place}")
            )
        _told.away = True

    def _tell_back(self) -> None:
        if _told.away:
            self._listener(WarningMessage("MLflow is back, and has what was kept for it"))
        _told.away = False

    @contextmanager
    def signs_of_life(self) -> Iterator[None]:
        """A block during which the run tells from time to time that its process is there."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT):
                with suppress(Exception):  # MLflow may be back at the next beat
                    mlflow.MlflowClient().set_tag(self.run_id, Tag.SEEN, f"{time.time():.0f}")

        threading.Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            ended.set()


def deliver_left() -> None:
    """Try once more what MLflow has not taken of this process's runs that have ended."""
    here = [delivery for delivery in _told.left if delivery.address == server.tracking_uri()]
    delivered = [delivery for delivery in here if delivery.deliver_left()]
    _told.left[:] = [delivery for delivery in _told.left if delivery not in delivered]


def undelivered() -> list[str]:
    """What is to be told of this process's runs of which MLflow has not taken all."""
    return [delivery.told for delivery in _told.left if delivery.address == server.tracking_uri()]


def replay(journal: Journal) -> None:
    """Bring a journal into MLflow and remove it; OutageError if MLflow does not take it."""
    with lock("journal", journal.run_id):  # two at once would make the model twice
        Delivery(journal.run_id).replay()


def _identity() -> tuple[int, int] | None:
    """Which file the database is, if it is one."""
    path = server.database_path()
    if path is None:
        return None
    about = path.absolute().stat()
    return about.st_dev, about.st_ino


def _expect_database(identity: tuple[int, int] | None) -> None:
    """OSError where the database's file has gone: what is open of it takes writes that nobody will ever read."""
    if _identity() != identity:
        raise OSError(f"another file has taken the place of {server.database_path()}")
