"""The executors of one operator engine: they outlive its processes, and do what a script says."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from executors.base import ArtifactRef, Outcome, OutcomeKind, Progress, Task
from tests.support.simulation.graphs import SEED_READERS
from tests.support.simulation.tables import UNSTORABLE

if TYPE_CHECKING:
    from tests.support.simulation.engine import SimulatedEngine

_FAILURES = ("error", "invalid_input", "out_of_memory", "killed", "lost")


@dataclass(slots=True)
class Job:
    """One attempt at the back end; `outcome` is what was told of it last."""

    task: Task
    stage: OutcomeKind
    outcome: Outcome
    started_at: dt.datetime | None = None


class Pool:
    """Runs attempts on its slots; every attempt that is submitted twice is started once."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine
        self._world = engine.world
        self.jobs: dict[str, Job] = {}
        self.n_crashes = 0
        self._marks: set[str] = set()

    def submit(self, task: Task) -> None:
        """Take an attempt."""
        attempt_id = task.attempt_id
        if attempt_id in self.jobs:
            return
        job = Job(task, "accepted", Outcome(attempt_id=attempt_id, kind="accepted"))
        self.jobs[attempt_id] = job
        if attempt_id in self._marks:
            self._end(job, "cancelled")
        else:
            self._start_next(task.executor)

    def cancel(self, attempt_id: str) -> None:
        """Kill an attempt; one that is not known is remembered."""
        job = self.jobs.get(attempt_id)
        if job is None:
            self._marks.add(attempt_id)
        elif job.stage == "accepted":
            self._end(job, "cancelled")
        elif job.stage != "ended":
            delay_s = 0.01 + 0.3 * self._world.chance.random()
            self._world.timeline.after(delay_s, self._finish, job, "cancelled")

    def release(self, attempt_ids: list[str]) -> None:
        """Forget ends that were acknowledged."""
        for attempt_id in attempt_ids:
            job = self.jobs.get(attempt_id)
            if job is not None and job.stage == "ended":
                del self.jobs[attempt_id]

    def poll(self) -> list[Outcome]:
        """Tell the present stage of everything."""
        return [job.outcome for job in self.jobs.values()]

    def running(self) -> list[str]:
        """List the attempts that run or wait here."""
        return [name for name, job in self.jobs.items() if job.stage != "ended"]

    def crash(self, *, keeps_ends: bool, names_losses: bool) -> None:
        """Die with all that runs; a journal may keep the ends, and know what was lost."""
        self.n_crashes += 1
        jobs, self.jobs = self.jobs, {}
        self._marks.clear()
        for name, job in jobs.items():
            if job.stage == "ended":
                if keeps_ends:
                    self.jobs[name] = job
            elif names_losses:
                self.jobs[name] = job
                self._record_end(job, "lost")

    def hand_back(self) -> None:
        """End all that has not ended, because the engine is stopped in good order."""
        for job in list(self.jobs.values()):
            if job.stage != "ended":
                self._record_end(job, "handed_back")
                self._engine.hear_executor(job.task.executor, [job.outcome])

    def kill_worker(self, attempt_id: str) -> None:
        """Let one worker die."""
        job = self.jobs.get(attempt_id)
        if job is not None and job.stage not in ("accepted", "ended"):
            self._end(job, "killed")

    # --- how --------------------------------------------------------------------------------------

    def _start_next(self, executor: str) -> None:
        mine = [job for job in self.jobs.values() if job.task.executor == executor]
        n_running = sum(job.stage in ("started", "progress") for job in mine)
        for job in mine:
            if n_running >= self._engine.executors[executor]:
                return
            if job.stage == "accepted":
                self._start(job)
                n_running += 1

    def _start(self, job: Job) -> None:
        task = job.task
        self._world.promises.check_execution(self._engine.engine_id, self.n_crashes, task)
        script = self._world.script(task)
        job.started_at = self._engine.clock.now()
        self._tell(
            job,
            Outcome(attempt_id=task.attempt_id, kind="started", started_at=job.started_at),
        )
        timeline = self._world.timeline
        if script.has_progress:
            timeline.after(script.duration_s / 2, self._progress, job)
        if script.end is not None:
            timeline.after(script.duration_s, self._finish, job, script.end)

    def _progress(self, job: Job) -> None:
        if self.jobs.get(job.task.attempt_id) is job and job.stage == "started":
            told = Progress(done=1, total=2)
            attempt_id = job.task.attempt_id
            self._tell(job, Outcome(attempt_id=attempt_id, kind="progress", progress=told))

    def _finish(self, job: Job, end: str) -> None:
        if self.jobs.get(job.task.attempt_id) is job and job.stage != "ended":
            self._end(job, end)

    def _end(self, job: Job, end: str) -> None:
        self._record_end(job, end)
        self._engine.hear_executor(job.task.executor, [job.outcome])
        self._start_next(job.task.executor)

    def _tell(self, job: Job, outcome: Outcome) -> None:
        job.stage, job.outcome = outcome.kind, outcome
        self._engine.hear_executor(job.task.executor, [outcome])

    def _record_end(self, job: Job, end: str) -> None:
        job.stage = "ended"
        job.outcome = _make_end(job, end, self._engine.clock.now())
        self._world.promises.note_end(job.task.attempt_id, end)


def _make_end(job: Job, end: str, now: dt.datetime) -> Outcome:
    attempt_id = job.task.attempt_id
    if end == "silent":
        return Outcome(attempt_id=attempt_id, kind="ended", started_at=job.started_at, ended_at=now)
    n_outputs = job.task.n_outputs
    outputs = []
    if end in ("succeeded", "too_few"):
        ref = ArtifactRef(type="report", inline={"from": attempt_id})
        outputs = [ref] * (n_outputs if end == "succeeded" else n_outputs - 1)
    is_failure = end not in ("succeeded", "too_few", "cancelled")
    reason = {"unstorable": "error", "handed_back": "lost"}.get(end, end)
    return Outcome(
        attempt_id=attempt_id,
        kind="ended",
        state="cancelled" if end == "cancelled" else "failed" if is_failure else "succeeded",
        reason=reason if is_failure else "",
        message=UNSTORABLE if end == "unstorable" else end,
        outputs=outputs,
        is_handed_back=end == "handed_back",
        has_read_seed=job.task.algorithm in SEED_READERS,
        metrics={"auc": 0.5} if end == "succeeded" else {},
        started_at=job.started_at,
        ended_at=now,
    )
