"""Every way that slices may lie in a patient: the arrangements that the matrix of the proof is made of."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from proofs.dicom.phantom import AXIAL, Orientation, Sampling, Vector, hounsfield, sampled
from proofs.dicom.refused_series import tilted
from proofs.dicom.written import enhanced_file, save, slice_files

from thoar.io.dicom.records import PLAIN, ReadOptions

SPACING_ZYX_MM = (5.0, 3.7, 4.3)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrangement:
    """One series of the matrix.

    Attributes:
        group: which part of the matrix it belongs to.
        name: for tables.
        sampling: where its slices lie, in the order of files and InstanceNumber.
        patient_position: what the header says.
        enhanced: as one multi-frame file.
        options: what the reader must be allowed, where the slices make no grid.
    """

    group: str
    name: str
    sampling: Sampling
    patient_position: str = "HFS"
    enhanced: bool = False
    options: ReadOptions = PLAIN

    def write(self, folder: Path) -> Path:
        """Write it below a folder and return what to read."""
        hu = hounsfield(self.sampling.points_xyz_mm)
        if self.enhanced:
            ds = enhanced_file(self.sampling, hu, patient_position=self.patient_position)
            save({"enhanced.dcm": ds}, folder)
            return folder / "enhanced.dcm"
        files = slice_files(self.sampling, hu, patient_position=self.patient_position)
        return save(files, folder / "series")


def axis_aligned() -> list[Arrangement]:
    """Return the 24 signed pairs of row and column directions, each in both orders of slices."""
    names = {0: "x", 1: "y", 2: "z"}
    arrangements: list[Arrangement] = []
    for (row, column), signs in itertools.product(
        itertools.permutations(range(3), 2), itertools.product((1, -1), repeat=2)
    ):
        directions = signs[0] * np.eye(3)[row], signs[1] * np.eye(3)[column]
        name = " ".join(
            f"{'+' if sign > 0 else '-'}{names[axis]}"
            for sign, axis in zip(signs, (row, column), strict=True)
        )
        orientation = Orientation(
            name=name, along_row_xyz=_vector(directions[0]), along_column_xyz=_vector(directions[1])
        )
        arrangements += _both_orders("24 directions × 2 orders", orientation)
    return arrangements


def obliques() -> list[Arrangement]:
    """Return axial, sagittal and coronal slices turned about one axis, and about all three."""
    bases = {
        "axial": ((1, 0, 0), (0, 1, 0)),
        "sagittal": ((0, 1, 0), (0, 0, -1)),
        "coronal": ((1, 0, 0), (0, 0, -1)),
    }
    turns = {
        "axial": [(10, 0, 0), (0, -17, 0), (0, 0, 33), (-8, 0, 0), (12, 7, 0), (20, -15, 40)],
        "sagittal": [(0, 0, 12), (9, -14, 21)],
        "coronal": [(-11, 0, 0), (15, 25, -9), (-35, 10, 170)],
    }
    arrangements: list[Arrangement] = []
    for base, degrees in ((base, degrees) for base, several in turns.items() for degrees in several):
        turn = _rotation(degrees)
        row, column = (_vector(turn @ np.array(direction, float)) for direction in bases[base])
        about = ", ".join(f"{d:+d}° {axis}" for d, axis in zip(degrees, "xyz", strict=True) if d)
        orientation = Orientation(name=f"{base}, {about}", along_row_xyz=row, along_column_xyz=column)
        arrangements += _both_orders("11 obliques × 2 orders", orientation)
    return arrangements


def positions() -> list[Arrangement]:
    """Return the eight ways to lie on a couch, as scanners write them: x of the gantry along the rows."""
    down = {"S": (0, 1, 0), "P": (0, -1, 0), "DR": (-1, 0, 0), "DL": (1, 0, 0)}
    arrangements: list[Arrangement] = []
    for head, (lying, column) in itertools.product(("HF", "FF"), down.items()):
        inward = (0, 0, 1) if head == "HF" else (0, 0, -1)
        row = _vector(np.cross(column, inward))
        orientation = Orientation(
            name=f"{head}{lying}",
            along_row_xyz=row,
            along_column_xyz=column,
            patient_position=f"{head}{lying}",
        )
        arrangements += _both_orders("8 positions × 2 orders", orientation)
    return arrangements


def tilts() -> list[Arrangement]:
    """Return slices tilted against the couch, and slices that are unevenly spaced or lack one."""
    allowed = ReadOptions(rectify=True)
    several = [tilted(15), tilted(-22.5), tilted(3), tilted(8, about="y"), tilted(-12, about="y")]
    arrangements = [
        Arrangement(
            group="tilted and uneven", name=o.name, sampling=sampled(o, SPACING_ZYX_MM), options=allowed
        )
        for o in several
    ]
    feet = Orientation(
        name="tilted +10° about x, FFP",
        along_row_xyz=(1, 0, 0),
        along_column_xyz=(0, -_cos(10), -_sin(10)),
        step_xyz=(0, 0, -1),
        patient_position="FFP",
    )
    arrangements += [
        Arrangement(
            group="tilted and uneven",
            name=feet.name,
            sampling=sampled(feet, SPACING_ZYX_MM),
            patient_position="FFP",
            options=allowed,
        )
    ]
    axial = sampled(AXIAL, SPACING_ZYX_MM)
    fine = sampled(AXIAL, (2.5, 3.7, 4.3))
    uneven = fine.taking([*range(0, 24, 2), *range(24, len(fine.origins_xyz_mm))])
    gap = axial.taking([*range(11), *range(12, len(axial.origins_xyz_mm))])
    return [
        *arrangements,
        Arrangement(
            group="tilted and uneven", name="steps of 5 mm, then of 2.5 mm", sampling=uneven, options=allowed
        ),
        Arrangement(
            group="tilted and uneven", name="one slice absent", sampling=gap, options=ReadOptions(fill_gaps=1)
        ),
    ]


def enhanced() -> list[Arrangement]:
    """Return some of the above as Enhanced CT."""
    chosen = [*axis_aligned()[::9], *obliques()[::7], *positions()[4::5], *tilts()[:1]]
    return [
        Arrangement(
            group="Enhanced CT",
            name=f"{a.name} ({a.group.split()[0]})" if a.group[0].isdigit() else a.name,
            sampling=a.sampling,
            patient_position=a.patient_position,
            enhanced=True,
            options=a.options,
        )
        for a in chosen
    ]


def _both_orders(group: str, orientation: Orientation) -> list[Arrangement]:
    sampling = sampled(orientation, SPACING_ZYX_MM)
    backwards = sampling.taking(list(range(len(sampling.origins_xyz_mm)))[::-1])
    return [
        Arrangement(
            group=group,
            name=f"{orientation.name}{order}",
            sampling=s,
            patient_position=orientation.patient_position,
        )
        for s, order in ((sampling, ""), (backwards, ", from the other end"))
    ]


def _rotation(degrees_xyz: tuple[float, float, float]) -> np.ndarray:
    turn = np.eye(3)
    for axis, degrees in enumerate(degrees_xyz):
        one = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        one[i, i] = one[j, j] = _cos(degrees)
        one[i, j], one[j, i] = -_sin(degrees), _sin(degrees)
        turn = one @ turn
    return turn


def _cos(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))


def _sin(degrees: float) -> float:
    return float(np.sin(np.radians(degrees)))


def _vector(values: np.ndarray) -> Vector:
    x, y, z = (float(v) for v in values)
    return (x, y, z)


MATRIX: tuple[Arrangement, ...] = (*axis_aligned(), *obliques(), *positions(), *tilts(), *enhanced())
