"""One monitor over one window, top to bottom: list, claim, gather, evaluate, report, record, settle the alarms."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from traceback import extract_tb
from typing import Final

from driftline.alarms import violations_for
from driftline.catalog.alarming import Change
from driftline.catalog.catalog import Catalog
from driftline.catalog.ledger import Cause, Measured, Run, RunStatus
from driftline.catalog.ledger import Outcome as Recorded
from driftline.constraints import Constraint, Mode, Verdict
from driftline.dataset.dataset import Answers, Progress
from driftline.engines.engine import Engine
from driftline.engines.remembered import RememberingEngine
from driftline.errors import Conflict, DriftlineError, InputError, NotFound, Unavailable
from driftline.monitors.monitor import Monitor
from driftline.objects.store import ObjectStore
from driftline.runs.baseline import Baseline, load
from driftline.runs.evaluate import Outcome, Question, evaluate, same_kind
from driftline.runs.gather import Gathered, Job, gather, listing
from driftline.runs.lease import Passing, kept
from driftline.runs.oneoff import quality_monitor
from driftline.runs.report import REPORT, About, report_files
from driftline.schema import ProblemType
from driftline.windows import Due
from driftline.wire import AlarmSpec, MonitorSpec, PlanFile

MOST_PAGES: Final = 0.05
"""Where windows are long, a budget per month could allow a false alarm in every other one: not more than this."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where runs happen: the catalog, the objects, an engine, and a local cache of decoded rows."""

    catalog: Catalog
    store: ObjectStore
    engine: Engine
    cache: Path
    owner: str
    """Names this process in the ledger."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A window that was looked at, and what changed by it."""

    run: Run
    changes: tuple[Change, ...] = ()
    failure: str | None = None


def job_of(catalog: Catalog, name: str) -> Job:
    """The declared monitor `name`, with its endpoint and baseline. Raises NotFound, InputError."""
    spec = catalog.declared.monitor(name)
    return Job(
        name=name,
        spec=spec,
        endpoint=catalog.declared.endpoint(spec.endpoint),
        schedule=spec.schedule.schedule(),
        baseline=load(catalog.declared.baseline(spec.baseline)),
    )


def question_of(job: Job, alarms: Iterable[AlarmSpec]) -> Question:
    """What the monitor asks of each window, with its share of the false-alarm budget.

    Args:
        alarms: those that watch the monitor; one that waits for M of N windows leaves each window more of the budget.
    """
    mode = Mode(job.spec.mode) if job.spec.mode is not None else job.baseline.mode
    pages = min(MOST_PAGES, job.spec.false_alarms_per_month / job.schedule.windows_per_month)
    budget = min((violations_for(pages, a.datapoints, a.of) for a in alarms), default=pages)
    monitor: Monitor = job.baseline.data_quality()
    if job.needs_labels:
        answers = Answers(job.endpoint.prediction, job.endpoint.probability, job.endpoint.threshold)
        monitor = quality_monitor(job.endpoint.problem_type or job.baseline.problem or ProblemType.BINARY, answers)
    return Question(monitor, job.baseline, mode, budget, job.spec.metrics, job.spec.columns)


def perform(
    job: Job,
    due: Due,
    site: Site,
    now: datetime,
    *,
    again: bool = False,
    asked: bool = False,
    progress: Progress | None = None,
) -> Ran | None:
    """Look at the window, unless the same inputs were looked at before; None where there was nothing to do.

    A failure, foreseen or not, is recorded with its reason in the ledger and does not stop other windows. What changed
    of the inputs (late labels, late records) makes a new revision; with `again`, so do the same ones (the baseline may
    be another).

    Args:
        asked: whether somebody asked for this window by hand, and the schedule does not know it: no alarm counts it.

    Raises:
        Unavailable: the objects cannot be listed, or the catalog does not answer.
        Conflict: another worker took the run over.
    """
    time, ledger = Passing(now), site.catalog.ledger
    objects = listing(job, due, site.store, now).digest
    run = ledger.claim(job.name, due, objects, owner=site.owner, now=time.now(), again=again, asked=asked)
    if run is None:
        if now >= _settled_at(job, due):
            ledger.close(job.name, due.window, objects)
        return None
    if run.status is RunStatus.FAILED:
        return Ran(run, failure=run.reason)
    try:
        with kept(run, ledger, time):
            new = _work(run, job, site, time, again=again, progress=progress)
    except Conflict:
        raise
    except DriftlineError as why:
        return _failed(run, site, str(why), Cause.OUTSIDE if isinstance(why, Unavailable) else Cause.INPUTS, time)
    except OSError as why:
        return _failed(run, site, _crash(why), Cause.OUTSIDE, time)
    except Exception as why:  # noqa: BLE001  what nobody foresaw must end in the ledger, or it is tried for ever
        return _failed(run, site, _crash(why), Cause.CRASH, time)
    except BaseException as why:  # somebody ends the process: nobody has to wait for the end of its lease
        with suppress(DriftlineError):
            _failed(run, site, f"the work was ended ({type(why).__name__})", Cause.OUTSIDE, time)
        raise
    if not new:
        return None
    return Ran(ledger.run(run.id), tuple(site.catalog.alarms.settle(job.name, time.now())))


def _settled_at(job: Job, due: Due) -> datetime:
    """From when on nothing can change the inputs: the hour in which labels were late at last is over."""
    last = job.schedule.ready_at(due.scheduled_at) + job.schedule.late
    return last.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _work(run: Run, job: Job, site: Site, time: Passing, *, again: bool, progress: Progress | None) -> bool:
    """Read, judge, report, record; False where the inputs turned out to say what they said before."""
    ledger = site.catalog.ledger
    # Listed again: until the claim, another worker may have looked at more than was listed before it.
    found = listing(job, run.due, site.store, time.now())
    gathered = gather(job, run.due, found, site.store, site.cache, progress)
    if not ledger.identify(run, found.digest, gathered.inputs.fingerprint or found.digest, again=again):
        return False
    question = question_of(job, _alarms(job, site.catalog))
    outcome = evaluate(question, gathered.dataset, RememberingEngine(site.engine, site.cache), progress)
    about = About(job.name, job.spec.endpoint, run.due.scheduled_at)
    files = report_files(outcome, question, gathered.inputs, about, time.now())
    ledger.extend(run, time.now())  # whoever has lost the run writes over nobody's report
    key = _publish(files, job, run, site.store)
    ledger.finish(run, _recorded(outcome, gathered, key), time.now())
    return True


def _failed(run: Run, site: Site, reason: str, cause: Cause, time: Passing) -> Ran:
    site.catalog.ledger.fail(run, reason, time.now(), cause)
    failed = site.catalog.ledger.run(run.id)
    return Ran(failed, failure=failed.reason)


def _crash(why: Exception) -> str:
    """What broke down, and where: nobody has written a message for it."""
    [*_, last] = extract_tb(why.__traceback__)
    return f"{type(why).__name__}: {why or 'no message'} ({Path(last.filename).name}, line {last.lineno})"


def _alarms(job: Job, catalog: Catalog) -> list[AlarmSpec]:
    return [alarm for alarm in catalog.declared.alarms().values() if alarm.monitor == job.name]


def _recorded(outcome: Outcome, gathered: Gathered, key: str) -> Recorded:
    worst: dict[tuple[str, str | None], Verdict] = {}
    rank = [Verdict.HOLDS, Verdict.UNKNOWN, Verdict.VIOLATED]
    for judgement in outcome.judgements:
        at = (judgement.constraint.metric, judgement.constraint.column)
        worst[at] = max(worst.get(at, Verdict.HOLDS), judgement.verdict, key=rank.index)
    coverage = outcome.coverage
    return Recorded(
        verdict=outcome.verdict,
        measured=tuple(Measured(m, worst.get((m.metric, m.column))) for m in outcome.measurements),
        reason=outcome.reason,
        report=key,
        rows=gathered.inputs.predictions.table.rows,
        coverage=None if coverage is None or not coverage.predictions else coverage.labelled / coverage.predictions,
    )


def _publish(files: dict[str, bytes], job: Job, run: Run, store: ObjectStore) -> str:
    """Write the report where Model Monitor writes it; every revision keeps its own report.json beside it."""
    prefix = report_prefix(job, run)
    store.put(f"{prefix}revisions/{run.revision}/report.json", files["report.json"])
    for name in REPORT:
        if name not in files:
            store.delete(prefix + name)
    for name, data in files.items():
        store.put(prefix + name, data)
    return prefix


def report_prefix(job: Job, run: Run) -> str:
    """Where the report of the run lies: under the scheduled hour, as Model Monitor's do.

    Schedules that fire within the hour have the minute below it, and windows that the schedule does not know lie
    apart, so that no two windows share a report.
    """
    prefix, at, window = f"reports/{job.spec.endpoint}/{job.name}/", run.due.scheduled_at, run.window
    if run.asked:
        return f"{prefix}asked/{window.start:%Y%m%dT%H%M%S}-{window.end:%Y%m%dT%H%M%S}/"
    return f"{prefix}{at:%Y/%m/%d/%H}/" + (f"{at:%M}/" if at.minute else "")


def check_plan(plan: PlanFile) -> None:
    """Read what the monitors of a plan need, so that a mistake is told when it is applied, not at night.

    Raises:
        NotFound, InputError: a baseline is not there, cannot be read, or is of another kind than its monitor; a
            monitor or an alarm is about metrics or columns on which that baseline has no constraint.
    """
    for name, spec in plan.monitors.items():
        baseline = load(plan.baselines[spec.baseline])
        job = Job(name, spec, plan.endpoints[spec.endpoint], spec.schedule.schedule(), baseline)
        alarms = {key: a for key, a in plan.alarms.items() if a.monitor == name}
        question = question_of(job, alarms.values())
        same_kind(question)
        if spec.preprocess is not None and not Path(spec.preprocess).is_file():
            raise NotFound(f"monitor {name!r}: there is no preprocess script {spec.preprocess}")
        every = replace(question, metrics=None, columns=None).constraints(1)
        _constrained(f"monitor {name!r}", spec, every, baseline)
        for key, alarm in alarms.items():
            _constrained(f"alarm {key!r}", alarm, question.constraints(1), baseline)


def _constrained(who: str, spec: MonitorSpec | AlarmSpec, there: tuple[Constraint, ...], baseline: Baseline) -> None:
    """Refuse a name that nothing is ever judged by: an alarm on it would stay silent for ever."""
    for what, asked, known in (
        ("metric", spec.metrics, {c.metric for c in there}),
        ("column", spec.columns, {c.column for c in there if c.column is not None}),
    ):
        for one in asked or ():
            if one not in known:
                raise InputError(
                    f"{who}: {what} {one!r} has no constraint that is judged here ({baseline.where}); "
                    f"there are: {', '.join(sorted(known)) or 'none'}"
                )
