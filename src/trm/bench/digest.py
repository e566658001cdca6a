"""Does a build of ARC hold the published examples? A digest that the random shifts of training pairs do not change.

Of each example in file order, EOS marks are cleared and both boards moved by the input's first row and first column
that hold a colour; what leaves the canvas is dropped. The bytes, input first, go to one SHA-256 a split.
"""

import hashlib
from pathlib import Path

import numpy as np
from numba import njit

from trm.data.layout import read_split
from trm.progress import progress
from trm.puzzles.arc_boards import BLACK, SIDE

CHUNK = 5000

# of the published build of ARC-AGI-1 with ConceptARC, seed 42, 1000 augmentations
PUBLISHED = {
    "train": "a04f3e60ed5bf17ad97355a0651087d7c48892ee908ba04b1864732db61adaa5",
    "test": "52a323e8c0edc4ae37c4b974bc2484d971369158255bbd3d276a0f58d88aebee",
}


def digest(folder: Path) -> str:
    """The digest of a split, stored or online."""
    split = read_split(folder)
    sha = hashlib.sha256()
    with progress(f"digest of {folder.name}", len(split)) as advance:
        for start in range(0, len(split), CHUNK):
            inputs, labels, _ = split.take(np.arange(start, min(start + CHUNK, len(split))))
            sha.update(_unshifted(inputs, labels))
            advance(len(inputs))
    return sha.hexdigest()


@njit(cache=True)
def _unshifted(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Both boards [n, 2, SIDE * SIDE] without marks, moved so that the input's grid stands at the top left."""
    out = np.zeros((len(inputs), 2, SIDE * SIDE), np.uint8)
    for i in range(len(inputs)):
        top = left = SIDE
        for cell in range(SIDE * SIDE):
            if inputs[i, cell] >= BLACK:
                top, left = min(top, cell // SIDE), min(left, cell % SIDE)
        for row in range(top, SIDE):
            for column in range(left, SIDE):
                place, cell = (row - top) * SIDE + column - left, row * SIDE + column
                if inputs[i, cell] >= BLACK:
                    out[i, 0, place] = inputs[i, cell]
                if labels[i, cell] >= BLACK:
                    out[i, 1, place] = labels[i, cell]
    return out
