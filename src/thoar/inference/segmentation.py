"""What inference returns: each organ's own probability in its own box, and the flags on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import msgspec
import numpy as np
from jaxtyping import Bool, Float16, Float32

from thoar.core.box import Box
from thoar.core.errors import LabelError
from thoar.core.geometry import Geometry, Vector3
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import LabelVolume, Volume
from thoar.imaging.prepare import PreparationReport

FACES = (("inferior", "superior"), ("anterior", "posterior"), ("right", "left"))
"""Names of a canonical grid's first and last face along z, y and x."""


class OrganFlags(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a reader of one organ's contour should know.

    Attributes:
        not_found: no contour exists: no coarse cell reached the threshold, the fine mask is empty, or the
            two disagree so much that neither is believed.
        cut_by_scan: faces of the scan that the mask reaches; the organ goes on outside.
        regrown: how often the box grew because the organ touched it.
        touches_box: faces of the last box, not of the scan, that the mask still touches.
        several_components: number of separate parts of the mask, where more than one.
        removed_components: smaller parts that were taken away.
        coarse_fine_disagree: the two decoders' masks overlap too little.
        coarse_fine_dice: that overlap, on the coarse grid.
        unusual_volume: outside the label set's usual range.
    """

    not_found: bool = False
    cut_by_scan: tuple[str, ...] = ()
    regrown: int = 0
    touches_box: tuple[str, ...] = ()
    several_components: int = 0
    removed_components: int = 0
    coarse_fine_disagree: bool = False
    coarse_fine_dice: float | None = None
    unusual_volume: bool = False


class MemoryUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scan was predicted to take, for the run record.

    Attributes:
        predicted_bytes: the most that the process (on a GPU: its tensors) would hold at once.
        limit_bytes: what it might; None where nobody set a limit and the system does not tell what is free.
        setting: of :func:`thoar.inference.slabs.ladder.ladder`, the slowest that was taken.
    """

    predicted_bytes: int
    limit_bytes: int | None
    setting: str


HALF_BITS = np.float16(0.5).view(np.uint16)


@dataclass(frozen=True, kw_only=True, eq=False)
class OrganSegmentation:
    """One organ's result.

    Attributes:
        organ: which.
        box_zyx: where ``probability`` lies on the scan's own grid; None where nothing was found.
        probability: inside the box; None where nothing was found.
        voxel_volume_ml: of the scan's grid.
        flags: see :class:`OrganFlags`.
    """

    organ: Organ
    box_zyx: Box | None
    probability: Float16[np.ndarray, "z y x"] | None
    voxel_volume_ml: float
    flags: OrganFlags

    @cached_property
    def mask(self) -> Bool[np.ndarray, "z y x"] | None:
        """The organ's own mask inside its box: probability at least 0.5."""
        return None if self.probability is None else _bits(self.probability) >= HALF_BITS

    @property
    def volume_ml(self) -> float:
        """Volume of the organ's own mask."""
        return 0.0 if self.mask is None else float(np.count_nonzero(self.mask)) * self.voxel_volume_ml


@dataclass(frozen=True, kw_only=True, eq=False)
class CoarseResult:
    """The coarse decoder's masks on the coarse grid.

    Attributes:
        geometry: the coarse grid in patient space.
        probability: per organ.
        mask: per organ, the cells taken for it.
    """

    geometry: Geometry
    probability: Mapping[str, Float32[np.ndarray, "z y x"]]
    mask: Mapping[str, Bool[np.ndarray, "z y x"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """Every asked-for organ of one scan.

    Attributes:
        geometry: the scan's own grid.
        label_set: the organs asked for.
        organs: one result each, in the label set's order.
        coarse: the coarse masks.
        preparation: what was done to the scan first.
        short_scan: the scan holds so few coarse slices that far context is missing.
        seconds: per stage: ``prepare``, ``encode``, ``locate``, ``draw``, and ``paste``, so far as
            organs were not pasted while the next ones were drawn.
        memory: what the scan was predicted to take; None where nobody predicted it.
    """

    geometry: Geometry
    label_set: LabelSet
    organs: tuple[OrganSegmentation, ...]
    coarse: CoarseResult
    preparation: PreparationReport
    short_scan: bool
    seconds: Mapping[str, float]
    memory: MemoryUse | None = None

    def organ(self, name: str) -> OrganSegmentation:
        """Return one organ's result.

        Raises:
            LabelError: if that organ was not asked for.
        """
        for result in self.organs:
            if result.organ.name == name:
                return result
        raise LabelError(f"{name!r} was not segmented here; there are {', '.join(self.label_set.names)}")

    def mask(self, name: str) -> Bool[np.ndarray, "z y x"]:
        """Return one organ's own mask on the scan's whole grid."""
        return self._on_whole_grid(self.organ(name), np.dtype(np.bool_))

    def probability(self, name: str) -> Volume:
        """Return one organ's probability on the scan's whole grid, as float32."""
        values = self._on_whole_grid(self.organ(name), np.dtype(np.float32))
        return Volume(voxels=values, geometry=self.geometry)

    def masks_in_boxes(self) -> dict[Organ, tuple[Box, Bool[np.ndarray, "z y x"]]]:
        """Return every organ's own mask with its box on the scan's grid; nothing is copied.

        An organ that was not found has one empty voxel, so that a picture can say so.
        """
        nothing = (Box.of_shape((1, 1, 1)), np.zeros((1, 1, 1), dtype=np.bool_))
        return {
            result.organ: nothing
            if result.box_zyx is None or result.mask is None
            else (result.box_zyx, result.mask)
            for result in self.organs
        }

    def _on_whole_grid(self, result: OrganSegmentation, dtype: np.dtype) -> np.ndarray:
        whole = np.zeros(self.geometry.shape_zyx, dtype=dtype)
        if result.box_zyx is not None:
            values = result.mask if dtype == np.bool_ else result.probability
            whole[result.box_zyx.slices] = values
        return whole

    def label_volume(self) -> LabelVolume:
        """Return one label map; where organs overlap, the higher probability wins, the earlier on a tie."""
        dtype = np.uint8 if max(organ.id for organ in self.label_set.organs) <= 255 else np.uint16  # noqa: PLR2004
        labels = np.zeros(self.geometry.shape_zyx, dtype=dtype)
        for position, result in enumerate(self.organs):
            if result.box_zyx is None or result.mask is None:
                continue
            taken = result.mask.copy()
            for earlier in self.organs[:position]:
                self._yield_where_weaker(taken, result, earlier)
            labels[result.box_zyx.slices][taken] = result.organ.id
        return LabelVolume(voxels=labels, geometry=self.geometry, label_set=self.label_set)

    @staticmethod
    def _yield_where_weaker(taken: np.ndarray, result: OrganSegmentation, earlier: OrganSegmentation) -> None:
        common = _common(result, earlier)
        if common is None:
            return
        mine, theirs = _part(result, result.probability, common), _part(earlier, earlier.probability, common)
        _part(result, taken, common)[_bits(theirs) >= _bits(mine)] = False

    @property
    def seems_mirrored(self) -> bool:
        """Whether the heart lies to the right of the trachea: a mirrored scan, or a patient who is built so.

        By the centroids of the two masks, where both were found; most hearts' lie centimetres to the left.
        """
        found = {result.organ.name: result for result in self.organs if result.mask is not None}
        if not {"heart", "trachea"} <= set(found):
            return False
        heart, trachea = (self._centroid_xyz_mm(found[name]) for name in ("heart", "trachea"))
        return heart[0] < trachea[0]

    def _centroid_xyz_mm(self, result: OrganSegmentation) -> Vector3:
        box, mask = result.box_zyx, result.mask
        if box is None or mask is None:
            raise ValueError(f"{result.organ.name} was not found")
        return self.geometry.position_xyz_mm((np.argwhere(mask).mean(axis=0) + box.start_zyx).tolist())

    def overlaps_ml(self) -> dict[tuple[str, str], float]:
        """Return the volume that two organs' own masks share, by their names, where there is any."""
        shared: dict[tuple[str, str], float] = {}
        for one, other in combinations(self.organs, 2):
            common = _common(one, other)
            if common is not None:
                both = _part(one, one.mask, common) & _part(other, other.mask, common)
                if both.any():
                    shared[one.organ.name, other.organ.name] = (
                        float(np.count_nonzero(both)) * one.voxel_volume_ml
                    )
        return shared


def _common(one: OrganSegmentation, other: OrganSegmentation) -> Box | None:
    if one.box_zyx is None or other.box_zyx is None:
        return None
    return one.box_zyx.intersection(other.box_zyx)


def _part(result: OrganSegmentation, values: np.ndarray | None, box_zyx: Box) -> np.ndarray:
    """Return a view of the values, which fill the result's box, inside a smaller box."""
    if result.box_zyx is None or values is None:
        raise ValueError(f"{result.organ.name} was not found")
    return values[box_zyx.shifted([-s for s in result.box_zyx.start_zyx]).slices]


def _bits(probability: np.ndarray) -> np.ndarray:
    """Return float16 numbers that are not negative as integers of the same order, compared much faster."""
    return probability.view(np.uint16)
