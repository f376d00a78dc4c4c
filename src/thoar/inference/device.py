"""The device that a name means."""

import torch

from thoar.core.errors import UsageError

DEVICE_TYPES = ("cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` means here.

    Raises:
        UsageError: if there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in DEVICE_TYPES:
            raise UsageError(f"--device {name}: is none of auto, {', '.join(DEVICE_TYPES)}")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: not available here ({str(error).splitlines()[0]})") from error
    return device
