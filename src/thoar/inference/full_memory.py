"""What torch and numpy say where memory is full, as an error that says what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from thoar.core.errors import ResourceError


@contextmanager
def full_memory_explained(text: Callable[[], str]) -> Iterator[None]:
    """Turn the errors of a memory that is full into one of ours.

    Args:
        text: makes its message, when it is needed.

    Raises:
        ResourceError: instead of them.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError(text()) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise ResourceError(text()) from error
