"""What a whole scan costs from file to contours: time by stage and memory, ours and nnU-Net's, in one run.

    .venv/bin/python benchmarks/inference.py WORK --peer PEER/bin --threads 4 --whole sample

Contenders are a model and its precision, as in ``paper-float32`` and ``fast-bfloat16`` (``paper-modules`` are
the network's own modules), and ``nnunet``, whose programs PEER/bin holds (``nnunet/requirements.txt``). They
take turns on every scan, round after round, each time in a process of its own. WORK keeps scans and models.
Results are written after every measurement and join earlier ones of the same machine, threads and commit.
Goals and what became of them stand on the page; the script ends with an error if one was missed. ``--device
cuda`` measures ours on a GPU.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from whole_scans.contenders import (
    Terms,
    alone,
    measurement,
    parts_of,
    peer_versions,
    takes_part,
    their_model,
    truth_of,
)
from whole_scans.figure import figure, label_of
from whole_scans.goals import goals_of, precision_of
from whole_scans.models import FAST, model_of
from whole_scans.page import page
from whole_scans.peak import peak_of
from whole_scans.results import (
    NNUNET,
    NNUNET_WHOLE,
    Call,
    Measurement,
    Results,
    about_this,
    load,
    merged,
    now,
)
from whole_scans.scans import SAMPLE_KINDS, SCANS, Scan, scan_of
from whole_scans.starting import starts_of

from thoar.inference.device import choose_device
from thoar.inference.slabs.precision import has_fast_bfloat16
from thoar.io.atomic import atomic_bytes

LARGE = ("x178", "x300", "x600")


def main() -> None:
    """Make what is missing, measure round after round, write the page."""
    given = parsed()
    terms = Terms(
        work=given.work.resolve(),
        device=str(choose_device(given.device)),
        threads=given.threads,
        times=1 if given.short else 2,
        peer=given.peer and given.peer.resolve(),
        patches=given.patches,
    )
    contenders = given.who or usual_contenders(terms, short=given.short)
    names = given.scans or usual_scans(terms.device, short=given.short)
    rounds = 1 if given.short else given.repeats
    scans = made_ready(contenders, names, terms, sample=given.sample)
    output = None if given.short else given.output
    older = kept(output)
    newer = begun(contenders, terms, sample=given.sample, starts=0 if given.short else 5)
    if older is not None and not newer.about.belongs_to(older.about):
        print(f"{output}: was measured on another machine or with other code, and begins anew")
    for contender, scan in turns(contenders, scans, rounds=rounds, whole=given.whole):
        found = measurement(contender, scan, terms)
        print(said(found), flush=True)
        newer = with_one(newer, found)
        write(output, merged(older, newer))
    together = merged(older, newer)
    if given.short:
        print("\n".join(page(together, picture=None)))
    elif missed := [goal.said for goal in goals_of(together) if goal.found is not None and not goal.is_met]:
        sys.exit("missed: " + "; ".join(missed))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="Folder of scans, models and logs; about 1 GB.")
    parser.add_argument("--peer", type=Path, help="Folder of nnU-Net's programs: PEER/bin.")
    parser.add_argument(
        "--sample", type=Path, default=Path("sample"), help="What thoar sample --dicom wrote."
    )
    parser.add_argument("--device", default="cpu", help="Of ours, as for `thoar segment`.")
    parser.add_argument("--threads", type=int, default=4, help="Of everybody.")
    parser.add_argument("--repeats", type=int, default=3, help="Rounds.")
    parser.add_argument("--who", nargs="+", help="MODEL-PRECISION, nnunet; usually all that can be.")
    parser.add_argument("--scans", nargs="+", choices=SCANS, help="The sample and the large phantoms.")
    parser.add_argument("--patches", type=int, default=6, help="That nnU-Net computes of each scan.")
    parser.add_argument(
        "--whole", nargs="*", choices=SCANS, default=[], help="Scans of which it computes all, once."
    )
    parser.add_argument("--short", action="store_true", help="Narrow networks, a tiny scan, no page.")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    if given.peer is None and (given.whole or NNUNET in (given.who or ())):
        parser.error("nnU-Net is to take part: say with --peer where its programs are")
    return given


def usual_contenders(terms: Terms, *, short: bool) -> list[str]:
    """Return who takes part when nobody is named."""
    device = choose_device(terms.device)
    on_gpu = device.type == "cuda"
    precisions = ["float32", *["float16"] * on_gpu, *["bfloat16"] * has_fast_bfloat16(device)]
    if short:
        return ["paper-narrow-float32", f"{FAST}-{precisions[-1]}"]
    ours = [f"{model}-{precision}" for model in ("paper", FAST) for precision in precisions]
    return [*ours, "paper-modules", *[NNUNET] * (terms.peer is not None)]


def usual_scans(device: str, *, short: bool) -> tuple[str, ...]:
    """Return which scans are measured when none is named."""
    if short:
        return ("tiny",)
    return (*(SAMPLE_KINDS if device.startswith("cuda") else SAMPLE_KINDS[:1]), *LARGE)


def made_ready(contenders: Sequence[str], names: Sequence[str], terms: Terms, *, sample: Path) -> list[Scan]:
    """Make scans, models and what untrained ones are told, so that no measurement has to wait for them."""
    terms.work.mkdir(parents=True, exist_ok=True)
    scans = [alone(_scan, terms.work, name, sample) for name in names]
    for contender in contenders:
        if contender in (NNUNET, NNUNET_WHOLE):
            their_model(terms)
            continue
        model, _ = parts_of(contender)
        model_of(terms.work, model)
        if model != FAST:
            for scan in scans:
                truth_of(terms.work, model, scan)
    return scans


def _scan(work: Path, name: str, sample: Path) -> Scan:
    return scan_of(work, name, sample=sample)


def begun(contenders: Sequence[str], terms: Terms, *, sample: Path, starts: int) -> Results:
    """Return results that hold what is measured once: what the machine can do, and how programs start."""
    call = Call(
        command=shlex.join(_without_paths(sys.argv[1:])),
        began=now(),
        ended=now(),
        load_before=load(),
        load_after=load(),
    )
    precisions = dict.fromkeys(
        precision_of(name) for name in contenders if name not in (NNUNET, NNUNET_WHOLE)
    )
    tiny = alone(_scan, terms.work, "tiny", sample)
    return Results(
        about=about_this(terms.device, terms.threads, peer_versions(terms)),
        calls=[call],
        peaks={name: alone(peak_of, name, terms.device, terms.threads) for name in precisions},
        starts=starts_of(tiny, terms.work, threads=terms.threads, times=starts) if starts else None,
    )


def _without_paths(words: Sequence[str]) -> list[str]:
    """Return options without the places of one machine.

    >>> _without_paths(["/a/work", "--peer", "/b/bin", "--threads", "4"])
    ['WORK', '--peer', 'BIN', '--threads', '4']
    """
    return [Path(word).name.upper() if "/" in word else word for word in words]


def turns(
    contenders: Sequence[str], scans: Sequence[Scan], *, rounds: int, whole: Sequence[str]
) -> Iterator[tuple[str, Scan]]:
    """Yield who is measured with what: on every scan all take turns, round after round."""
    for number in range(rounds):
        for scan in scans:
            for contender in contenders:
                if takes_part(contender, scan.name):
                    yield contender, scan
            if number == 0 and scan.name in whole:
                yield NNUNET_WHOLE, scan


def with_one(results: Results, found: Measurement) -> Results:
    """Return results with one more measurement, at the time it is."""
    (call,) = results.calls
    return msgspec.structs.replace(
        results,
        calls=[msgspec.structs.replace(call, ended=now(), load_after=load())],
        measurements=[*results.measurements, found],
    )


def said(found: Measurement) -> str:
    """Return a line about a measurement."""
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in found.seconds.items())
    calculated = " (calculated)" * found.is_calculated
    return (
        f"{found.scan}, {label_of(found.contender)}: {found.total_s:.2f} s{calculated} ({stages}), "
        f"{found.cost.peak_mib:.0f} MiB"
    )


def kept(output: Path | None) -> Results | None:
    """Return what was measured before, if anything."""
    path = output and output.with_suffix(".json")
    return msgspec.json.decode(path.read_bytes(), type=Results) if path and path.is_file() else None


def write(output: Path | None, results: Results) -> None:
    """Write results, figure and page."""
    if output is None:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    picture = output.with_suffix(".svg")
    atomic_bytes(output.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    atomic_bytes(picture, figure(results))
    atomic_bytes(output, ("\n".join(page(results, picture=picture.name)) + "\n").encode())


if __name__ == "__main__":
    main()
