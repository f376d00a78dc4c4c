"""nnU-Net v2 and thoar on the same phantoms: the same time, the same threads, the same cases held out.

    .venv/bin/python benchmarks/against_nnunet.py WORK --peer PEER/bin [--minutes 20] [--threads 2]

PEER is an environment with nnU-Net in it (``benchmarks/nnunet/requirements.txt``). WORK keeps the data and
what either side has done, so that a call goes on after the last part that was finished. After each side the
results, ``nnunet/results.json`` and ``nnunet/results.md``, are written anew.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from nnunet.ours import our_side
from nnunet.page import page
from nnunet.side import Side, Task, mean_dice
from nnunet.theirs import their_side
from nnunet.windows import make_data
from provenance import processor

from thoar.io.atomic import atomic_bytes

HERE = Path(__file__).parent / "nnunet"
SIDES = {"nnU-Net": their_side, "thoar": our_side}


def main() -> None:
    """Make the data, do what is missing of either side, write the page."""
    arguments = parsed()
    work: Path = arguments.work.resolve()
    torch.set_num_threads(arguments.threads)
    data = make_data(work / "data")
    sides: list[Side] = []
    for name in arguments.sides:
        task = Task(
            place=work / f"{name}-{arguments.minutes:g}-minutes-{arguments.threads}-threads",
            data=data,
            peer=arguments.peer.resolve(),
            minutes=arguments.minutes,
            threads=arguments.threads,
        )
        sides.append(SIDES[name](task))
        print(f"{name}: mean Dice {mean_dice(sides[-1]):.3f}", flush=True)
        write(arguments.output, sides, data)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="Folder of data and runs; about 1 GB.")
    parser.add_argument("--peer", type=Path, required=True, help="Folder of nnU-Net's programs: PEER/bin.")
    parser.add_argument("--minutes", type=float, default=20.0, help="Of preparation and training, each side.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="Folder of the page.")
    return parser.parse_args()


def write(folder: Path, sides: Sequence[Side], data: Path) -> None:
    """Write both results."""
    made = msgspec.json.decode((data / "made.json").read_bytes())
    plain = {"processor": processor(), "data": made, "sides": msgspec.to_builtins(sides)}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_bytes(folder / "results.json", msgspec.json.format(msgspec.json.encode(plain)) + b"\n")
    atomic_bytes(folder / "results.md", ("\n".join(page(sides, made)) + "\n").encode())


if __name__ == "__main__":
    main()
