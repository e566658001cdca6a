"""What a run answers to puzzles, in the terminal and as an animation."""

from pathlib import Path

from rich.console import Console

from trm import puzzles
from trm.evaluation.solve import Puzzle, Solution
from trm.files import BadInput
from trm.puzzles.drawing import Drawing
from trm.reporting.animation import animate
from trm.reporting.terminal import to_text


def print_solutions(asked: Puzzle, solutions: list[Solution], trace: bool, named: bool) -> None:
    """The last answer to each board of a puzzle, or the answers after every step, and what is to say about them."""
    console = Console(highlight=False, markup=False)
    if named:
        console.print(asked.where, soft_wrap=True)
    for number, solution in enumerate(solutions, 1):
        if len(solutions) > 1:
            console.print(f"board {number} of {len(solutions)}")
        drawings, captions = drawn(solution), captions_of(solution)
        for step, (drawing, caption) in enumerate(zip(drawings, captions, strict=True), 1):
            if trace:
                console.print(caption)
            if trace or step == len(drawings):
                for line in to_text(drawing):
                    console.print(line, soft_wrap=True)  # a board that is cut or wrapped cannot be read
        valid = getattr(puzzles.module(solution.dataset.puzzle), "VALID", "valid")
        halting = " ".join(f"{100 * probability:.0f}" for probability in solution.halting)
        console.print(f"{valid}: {'yes' if solution.valid[-1] else 'no'}")
        console.print(f"steps: {len(solution.answers)}, halting probability by step: {halting} %", soft_wrap=True)


def drawn(solution: Solution) -> list[Drawing]:
    """The answer after each step."""
    draw = puzzles.module(solution.dataset.puzzle).draw
    return [draw(solution.dataset, solution.inputs, answer, None) for answer in solution.answers]


def captions_of(solution: Solution) -> list[str]:
    steps = len(solution.halting)
    return [f"step {k} of {steps}, halting probability {100 * p:.0f} %" for k, p in enumerate(solution.halting, 1)]


def check_gif(out: Path, asked: int) -> None:
    """Raise BadInput where `animate_solutions` could not write the answers to so many puzzles there."""
    if asked > 1:
        raise BadInput(f"--gif: {asked} puzzles given, expected one")
    if out.suffix != ".gif":
        raise BadInput(f"--gif {out}: expected a name that ends in .gif")


def animate_solutions(solutions: list[Solution], out: Path) -> None:
    """The answers after every step as a GIF, one board after the other."""
    frames, captions = [], []
    for number, solution in enumerate(solutions, 1):
        board = f"board {number} of {len(solutions)}, " if len(solutions) > 1 else ""
        frames += drawn(solution)
        captions += [board + caption for caption in captions_of(solution)]
    animate(frames, captions, out)
