"""What ``thoar phantom`` makes cases of, a sample's scan, a label map or nothing, and on which scanner."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thoar.core.volume import Volume
    from thoar.phantoms.scanning.site import Site
    from thoar.phantoms.synthesis import Source

_log = logging.getLogger(__name__)


def read_source(
    *, copies_of: Path | None, from_map: Path | None, structures: Path | None, ct: Path | None
) -> "Source":
    """Read and ready what cases are made of: a sample's scan, a label map, or nothing at all.

    Raises:
        InputError: if a file is absent or its table cannot be understood.
        GeometryError: if scan and label map lie on different grids.
        LabelError: if the label map lacks what is needed.
    """
    if copies_of is not None:
        return _ready_scan(copies_of)
    if from_map is None or structures is None:
        return "thorax"
    return _ready_map(from_map, structures, ct)


def read_site(scanner: str | None) -> "Site | None":
    """Read where all cases are scanned: nowhere in particular, on the shifted scanner, or on that of a file.

    Raises:
        ConfigError: if the file cannot be read, or asks for what no scanner has.
    """
    import msgspec

    from thoar.core.configuration import load_toml
    from thoar.core.errors import ConfigError
    from thoar.phantoms.scanning.site import SHIFTED, Site

    if scanner is None or scanner == "shifted":
        return None if scanner is None else SHIFTED
    values = load_toml(Path(scanner))
    try:
        return msgspec.convert(values, Site)
    except (msgspec.ValidationError, ConfigError) as error:
        raise ConfigError(f"{scanner}: {error}") from error


def _ready_scan(folder: Path) -> "Source":
    import numpy as np

    from thoar.core.errors import InputError, LabelError
    from thoar.datasets.structure_table import read_structure_table
    from thoar.io.formats import read_integers, read_volume
    from thoar.phantoms.copies.labelled_scan import ready_scan

    table = folder / "structures.csv"
    image, labels = _volume_in(folder, folder.resolve().name), _volume_in(folder, "structures")
    for path in (image, labels, table):
        if not path.is_file():
            raise InputError(f"{path} is absent; --copies-of takes a case folder that `thoar sample` made")
    scan, named = read_volume(image), read_integers(labels)
    _refuse_other_grid(scan, named, labels)
    try:
        return ready_scan(scan, np.asarray(named.voxels), ids=read_structure_table(table))
    except LabelError as error:
        raise LabelError(f"{labels}: {error}") from error


def _volume_in(folder: Path, stem: str) -> Path:
    """Return the first file of that name in any format we read; what `thoar sample` writes where none is."""
    from thoar.io.formats import VOLUME_SUFFIXES

    named = [folder / f"{stem}{suffix}" for suffix in VOLUME_SUFFIXES]
    return next((path for path in named if path.is_file()), named[0])


def _ready_map(path: Path, table: Path, ct: Path | None) -> "Source":
    import numpy as np

    from thoar.core.errors import LabelError
    from thoar.datasets.structure_table import read_structure_table
    from thoar.io.formats import read_integers, read_volume
    from thoar.phantoms.label_map.body import ready_label_map

    ids, named = read_structure_table(table), read_integers(path)
    strange = sorted({int(n) for n in np.unique(named.voxels)} - {0, *ids.values()})
    if strange:
        _log.warning("%s: %s does not name the ids %s; they count as unlabelled", path, table.name, strange)
    scan = None if ct is None else read_volume(ct)
    if scan is not None:
        _refuse_other_grid(scan, named, path)
    try:
        return ready_label_map(named, ids=ids, ct=scan)
    except LabelError as error:
        raise LabelError(f"{path}, with the names of {table}: {error}") from error


def _refuse_other_grid(scan: "Volume", named: "Volume", path: Path) -> None:
    from thoar.core.errors import GeometryError

    if not scan.geometry.same_grid(named.geometry):
        raise GeometryError(f"{path}: does not lie on the scan's grid; resample it onto that first")
