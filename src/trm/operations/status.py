"""Every run with where it stands: read from its checkpoints, its metrics, its lock and its logs, and nothing else.

So it can be asked from any node, and costs a running trainer nothing.
"""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from trm.files import read_json
from trm.operations.columns import columns, duration
from trm.operations.project import Checkpoints, NotKnown, Project, fingerprint, holder
from trm.training import checkpoints, starts

RECENT = 20  # lines of metrics over which the rate is taken
TAIL = 1 << 18  # bytes of a log that are looked at

# What ends a job, by the words that it leaves in a log: what to say of it, and whether the run just goes on when it is
# started again. The last line of the log that says one of them counts.
ENDINGS = [
    (re.compile(r"stopped at step \d+ of \d+ \((.+)\), saved"), "{0}, saved", True),
    (re.compile(r"DUE TO TIME LIMIT|TERM_RUNLIMIT"), "killed at the time limit of its job", True),
    (re.compile(r"DUE TO PREEMPTION|TERM_PREEMPT"), "preempted", True),
    (re.compile(r"DUE TO NODE.?FAIL|TERM_ZOMBI|TERM_UNKNOWN"), "its node failed", True),
    (re.compile(r"(?i)oom.?kill|DUE TO OUT.OF.MEMORY|TERM_MEMLIMIT"), "out of main memory: resources.mem_mb", False),
    (re.compile(r"\*\*\* .* CANCELLED AT (\S+)|(TERM_OWNER|TERM_ADMIN)"), "cancelled", True),
    (re.compile(r"^trm: (.+)"), "{0}", False),
    (re.compile(r"(?<!\S)((?:[\w.]+\.)?(?!ChildFailed|CalledProcess)\w+Error: .+)"), "{0}", False),
]


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands. None: not known."""

    experiment: str
    seed: int
    fingerprint: str | None
    state: Literal["not begun", "running", "stopped", "failed", "done"]
    current: bool | None  # whether it is what the experiment's file asks for now
    step: int
    steps: int | None  # when it is done
    rate: float | None  # steps a second, lately
    seconds_left: float | None  # at this rate
    figures: dict[str, float]  # loss and exact accuracies last heard of
    held_by: str | None
    handovers: int | None  # how often it was started again, as its newest checkpoint has it
    killed: int | None  # how many of its trainers were killed
    ended: str | None  # how its last job ended, where it is not done
    log: str | None  # that says so


@dataclass(frozen=True)
class _Ending:
    words: str
    goes_on: bool
    log: Path


def status(project: Project) -> list[RunStatus]:
    """All runs that have left something on disk, and those that config.yaml asks for; by name and seed."""
    found: dict[tuple[str, int], list[Checkpoints]] = {}
    for each in project.checkpoints():
        found.setdefault((each.experiment, each.seed), []).append(each)
    asked = {(experiment.name, seed) for experiment in project.chosen for seed in experiment.seeds}
    finished = {
        (path.parents[1].name, int(path.parent.name.removeprefix("seed-")))
        for path in project.results.glob("runs/*/seed-*/provenance.json")
        if path.parent.name.removeprefix("seed-").isdecimal()
    }
    rows = []
    for name, seed in sorted(asked | finished | found.keys()):
        rows += _of_seed(project, name, seed, found.get((name, seed), []))
    return rows


def _of_seed(project: Project, name: str, seed: int, folders: list[Checkpoints]) -> list[RunStatus]:
    """The runs of an experiment and a seed: one for each fingerprint that has left something."""
    experiment = project.experiments.get(name)
    current = steps = None
    if experiment is not None:
        try:
            current = fingerprint(experiment, seed, project.shaping(experiment))
            steps = project.total_steps(experiment)
        except NotKnown:
            pass
    run = project.results / "runs" / name / f"seed-{seed}"
    facts = read_json(run / "provenance.json") if (run / "provenance.json").is_file() else None
    by_fingerprint = {each.fingerprint: each.folder for each in folders}
    names: set[str | None] = set(by_fingerprint)
    if facts is not None:
        names.add(facts.get("fingerprint"))
    if experiment in project.chosen and (current is not None or not names):
        names.add(current)
    # a log tells of the run that came last, whichever configuration it had
    last = max(by_fingerprint, key=lambda each: _changed(by_fingerprint[each]), default=current)
    rows = []
    for each in sorted(names, key=lambda each: (each != current, str(each))):
        is_current = None if current is None or each is None else each == current
        about = (name, seed, each)
        if facts is not None and facts.get("fingerprint") == each:
            rows.append(_done(about, is_current, run, facts))
            continue
        ending = _ending(project, name, seed) if each == last else None
        rows.append(_under_way(about, is_current, by_fingerprint.get(each), steps if is_current else None, ending))
    return rows


def _done(about: tuple[str, int, str | None], current: bool | None, run: Path, facts: dict[str, Any]) -> RunStatus:
    figures = {}
    if (run / "evaluation.json").is_file():
        scores = read_json(run / "evaluation.json")["figures"]
        figures = {key: scores[key]["value"] for key in ("exact_accuracy", "valid") if key in scores}
    steps, begun = facts.get("steps", 0), facts.get("starts")
    return RunStatus(
        *about,
        state="done",
        current=current,
        step=steps,
        steps=steps,
        rate=None,
        seconds_left=None,
        figures=figures,
        held_by=None,
        handovers=begun and begun - 1,
        killed=None,
        ended=None,
        log=None,
    )


def _under_way(
    about: tuple[str, int, str | None],
    current: bool | None,
    folder: Path | None,
    steps: int | None,
    ending: _Ending | None,
) -> RunStatus:
    lines, state, counted, held = [], {}, {}, None
    if folder is not None:
        held = holder(folder)
        folder = _in_use(folder, steps)
        lines, state = _metrics(folder / "metrics.jsonl"), _state(folder)
        counted = read_json(folder / starts.NAME) if (folder / starts.NAME).is_file() else {}
    losses = [line for line in lines if "split" not in line]
    rate = _rate(losses)
    step = max([state.get("step", 0), *(line["step"] for line in lines)])
    left = (steps - step) / rate if steps is not None and rate and held else None
    words: Literal["not begun", "running", "stopped", "failed"]
    if held:
        words, ending = "running", None
    elif ending is not None and not ending.goes_on:
        words = "failed"
    else:
        words = "stopped" if folder is not None and (step or lines) else "not begun"
    begun = state.get("starts")
    return RunStatus(
        *about,
        state=words,
        current=current,
        step=step,
        steps=steps,
        rate=rate if held else None,
        seconds_left=left,
        figures=_figures(lines),
        held_by=_who(held) if held else None,
        handovers=begun and begun - 1,
        killed=counted.get("killed"),
        ended=ending.words if ending else None,
        log=str(ending.log) if ending else None,
    )


def _in_use(folder: Path, steps: int | None) -> Path:
    """The folder that a training of `steps` steps uses: one of its own where a longer one was here first."""
    shorter = folder / f"{steps}-steps"
    return shorter if steps is not None and shorter.is_dir() else folder


def _metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a growing metrics.jsonl; the last one may still be incomplete."""
    found = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                break
    return found


def _state(folder: Path) -> dict[str, Any]:
    """Where the newest checkpoint stands, from its header alone; {} where there is none, or none that can be read."""
    step = checkpoints.newest(folder)
    if step is None:
        return {}
    try:
        with safe_open(folder / f"step-{step:08}.safetensors", framework="np") as file:
            return json.loads((file.metadata() or {}).get("state", "{}"))
    except (SafetensorError, OSError, ValueError):  # the trainer has just replaced it, or it is not whole
        return {"step": step}


def _rate(lines: list[dict[str, Any]]) -> float | None:
    """Steps a second over the last lines, evaluations between them included."""
    recent = [{"step": 0, "seconds": 0.0}, *lines][-RECENT:]
    seconds = recent[-1]["seconds"] - recent[0]["seconds"]
    return (recent[-1]["step"] - recent[0]["step"]) / seconds if seconds > 0 else None


def _figures(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The last loss, and the last exact accuracy of each split of the first dataset."""
    found = {}
    for line in lines:
        if "split" not in line:
            found["lm_loss"] = line["lm_loss"]
        elif "dataset" not in line:
            found[f"{line['split']}_exact_accuracy"] = line["exact_accuracy"]
    return found


def _who(holder: dict[str, Any]) -> str:
    job = f"job {holder['job']}, " if holder["job"] else ""
    return f"{job}process {holder['process']} on {holder['host']}, alive {time.time() - holder['beat']:.0f} s ago"


def _changed(folder: Path) -> float:
    """When something in a folder last changed."""
    return max((path.lstat().st_mtime for path in folder.rglob("*")), default=folder.lstat().st_mtime)


def logs(project: Project, experiment: str, seed: int) -> list[Path]:
    """The logs of a training, newest first: Snakemake's own, and the newest of each scheduler."""
    folder = project.root / ".snakemake"
    places = [
        (project.results / "logs" / "train", f"{experiment}-seed-{seed}.log"),
        (folder / "slurm_logs" / "rule_train", f"{experiment}_{seed}/*.log"),
        (folder / "lsf_logs" / "rule_train", f"experiment={experiment}..seed={seed}/*.log"),
    ]
    newest = [
        max(place.glob(pattern), key=lambda path: path.stat().st_mtime, default=None) for place, pattern in places
    ]
    return sorted(filter(None, newest), key=lambda path: path.stat().st_mtime, reverse=True)


def _ending(project: Project, experiment: str, seed: int) -> _Ending | None:
    """How the last job of a training ended, as the newest log that says anything of it has it."""
    for log in logs(project, experiment, seed):
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
        for line in reversed(lines):
            for pattern, words, goes_on in ENDINGS:
                if match := pattern.search(line.strip()):
                    return _Ending(words.format(*match.groups()), goes_on, log)
    return None


def table(runs: list[RunStatus]) -> str:
    """The runs as lines, and below them who holds which and how the others ended."""
    rows = [["run", "state", "step", "steps/s", "left", "loss", "exact", "again"]]
    notes = []
    for run in runs:
        name = f"{run.experiment} seed {run.seed}" + ("" if run.current is not False else f" ({run.fingerprint})")
        exact = next((value for key, value in run.figures.items() if key.endswith("exact_accuracy")), None)
        loss = run.figures.get("lm_loss")
        rows.append(
            [
                name,
                run.state if run.current is not False else f"{run.state}, older configuration",
                f"{run.step:,}" + (f" of {run.steps:,}" if run.steps is not None else ""),
                f"{run.rate:.3g}" if run.rate else "",
                duration(run.seconds_left) if run.seconds_left is not None else "",
                f"{loss:.3f}" if loss is not None else "",
                f"{exact:.1%}" if exact is not None else "",
                f"{run.handovers}" if run.handovers else "",
            ]
        )
        if run.held_by:
            notes.append(f"{name}: held by {run.held_by}")
        if run.ended:
            notes.append(f"{name}: {run.ended} ({run.log})")
        if run.killed:
            notes.append(f"{name}: {run.killed} of its trainers were killed")
    return "\n".join([columns(rows), *([""] if notes else []), *notes])
