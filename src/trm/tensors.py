"""Named tensors in one safetensors file, with a JSON value in its header."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trm.files import BadInput


def write_tensors(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and a JSON value. Raises OSError where the disk does not take them."""
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"state": json.dumps(state)})
    except SafetensorError as error:  # wraps what the system said, such as a full disk
        raise OSError(str(error)) from None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON value as `write_tensors` wrote them. Raises BadInput on a file that is not whole."""
    with _opened(path) as file:
        state = json.loads((file.metadata() or {}).get("state", "{}"))
        return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118


def read_shape(path: Path, name: str) -> tuple[int, ...] | None:
    """The shape of a tensor, from the file's header alone; None where it has none of this name. Raises BadInput."""
    with _opened(path) as file:
        return tuple(file.get_slice(name).get_shape()) if name in file.keys() else None  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (SafetensorError, ValueError, OSError) as error:
        raise BadInput(f"{path}: not a whole safetensors file ({error})") from None
