"""The path from a scan to its contours, the same for users and for validation.

One pass of the encoder; from its levels the coarse map, a box per organ, and each organ's fine mask, whose
box grows as long as the organ touches it. No array at full resolution holds more than one organ.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32

from thoar.core.box import Index3
from thoar.core.configuration import Configuration
from thoar.core.errors import ModelError, UsageError
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import Volume
from thoar.imaging.components import component_sizes, components_of_at_least
from thoar.imaging.prepare import Prepared, prepare, restore
from thoar.inference.bundle import Bundle
from thoar.inference.drawing import Drawing, draw_organ
from thoar.inference.ensemble import read_model
from thoar.inference.flags import box_faces_reached, coarse_fine_dice, has_unusual_volume, scan_faces_reached
from thoar.inference.full_memory import full_memory_explained
from thoar.inference.localisation import OrganLocalisation, coarse_mask
from thoar.inference.segmentation import CoarseResult, OrganFlags, OrganSegmentation, Segmentation
from thoar.inference.shipped import DEFAULT_MODEL
from thoar.network.encoder import Levels
from thoar.network.network import CoarseToFineNetwork

SHORT_SCAN_CELLS = 12
"""Scans of fewer coarse slices get the flag ``short_scan`` (S7)."""

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


class Predictor:
    """A network on a device, ready to segment scans.

    Args:
        network: is moved to the device and put into evaluation mode; it may lack decoders, whose organs
            are then not located or not drawn.
        configuration: of preparation, network and localisation.
        label_set: the organs that the network knows, and perhaps more.
        localisation: per organ.
        device: see :func:`choose_device`.
    """

    def __init__(
        self,
        *,
        network: CoarseToFineNetwork,
        configuration: Configuration,
        label_set: LabelSet,
        localisation: Mapping[str, OrganLocalisation],
        device: str = "auto",
    ) -> None:
        self.device = choose_device(device)
        self.network = network.to(self.device).eval()
        self._dtype = next((p.dtype for p in network.parameters()), torch.float32)
        self.configuration = configuration
        self.label_set = label_set
        self.localisation = dict(localisation)

    @classmethod
    def from_bundle(cls, bundle: Bundle, *, device: str = "auto") -> "Predictor":
        """Return the predictor of a bundle.

        Raises:
            ModelError: if its fine decoders are not trained.
        """
        if not bundle.manifest.fine_trained:
            raise ModelError(
                f"{bundle.folder}: has seen the coarse stage alone, its fine decoders are not trained; "
                "let the run go on to the joint stage (thoar train --resume)"
            )
        return cls(
            network=bundle.network,
            configuration=bundle.configuration,
            label_set=bundle.manifest.label_set,
            localisation=bundle.manifest.localisation,
            device=device,
        )

    def predict(self, volume: Volume, *, organs: Sequence[str] | None = None) -> Segmentation:
        """Segment a CT.

        Args:
            volume: Hounsfield units, in any axis order.
            organs: which ones; all where None. An organ's result does not depend on the others asked for.

        Raises:
            InputError: if the volume is no usable chest CT.
            LabelError: if the model does not know an organ, or was loaded without it.
            ResourceError: if memory does not suffice.
        """
        began = time.perf_counter()
        with full_memory_explained(lambda: _too_large(volume.geometry)):
            prepared = prepare(
                volume,
                preparation=self.configuration.preparation,
                body=self.configuration.body,
                multiple_zyx=self._stride_zyx,
            )
        return self.predict_prepared(prepared, organs=organs, prepare_s=time.perf_counter() - began)

    def predict_prepared(
        self, prepared: Prepared, *, organs: Sequence[str] | None = None, prepare_s: float = 0.0
    ) -> Segmentation:
        """Segment a scan that is prepared already; otherwise as :meth:`predict`."""
        wanted = self.drawn if organs is None else self.drawn.subset(tuple(organs))
        with torch.inference_mode(), full_memory_explained(lambda: _too_large(prepared.geometry)):
            began = time.perf_counter()
            levels, coarse = self._encode(prepared, wanted)
            encode_s = time.perf_counter() - began
            results = tuple(self._segment(organ, levels, coarse, prepared) for organ in wanted.organs)
        return Segmentation(
            geometry=prepared.source_geometry,
            label_set=wanted,
            organs=results,
            coarse=coarse,
            preparation=prepared.report,
            short_scan=coarse.geometry.shape_zyx[0] < SHORT_SCAN_CELLS,
            seconds={"prepare": prepare_s, "encode": encode_s, **{r.organ.name: r.seconds for r in results}},
        )

    def locate(self, prepared: Prepared) -> CoarseResult:
        """Return the coarse result of every organ that has a coarse channel, and nothing else."""
        with torch.inference_mode(), full_memory_explained(lambda: _too_large(prepared.geometry)):
            return self._encode(prepared, self.label_set.subset(self.network.located))[1]

    @property
    def drawn(self) -> LabelSet:
        """The organs that are drawn when none is named."""
        return self.label_set.subset(self.network.drawn)

    @property
    def _stride_zyx(self) -> Index3:
        return self.configuration.network.total_stride_zyx

    def _encode(self, prepared: Prepared, wanted: LabelSet) -> tuple[Levels, CoarseResult]:
        image = torch.from_numpy(prepared.voxels)[None, None].to(self.device, self._dtype)
        levels = self.network.encode(image)
        maps = self.network.locate(levels).probability[0].float().cpu().numpy()
        return levels, self._coarse_result(maps, prepared, wanted)

    def _coarse_result(
        self, maps: Float32[np.ndarray, "channel z y x"], prepared: Prepared, wanted: LabelSet
    ) -> CoarseResult:
        channels = {name: 1 + i for i, name in enumerate(self.network.located)}  # 0 is the background
        probability = {name: maps[channels[name]] for name in wanted.names}
        least = self.configuration.localisation.min_component_cells
        mask = {
            name: coarse_mask(map_, self.localisation[name].threshold, least_cells=least)
            for name, map_ in probability.items()
        }
        shape = (maps.shape[1], maps.shape[2], maps.shape[3])
        return CoarseResult(
            geometry=_coarse_geometry(prepared.geometry, self._stride_zyx, shape),
            probability=probability,
            mask=mask,
        )

    def _segment(
        self, organ: Organ, levels: Levels, coarse: CoarseResult, prepared: Prepared
    ) -> OrganSegmentation:
        began = time.perf_counter()
        drawing = draw_organ(
            self.network,
            levels,
            organ=organ.name,
            cells=coarse.mask[organ.name],
            localisation=self.localisation[organ.name],
            settings=self.configuration.localisation,
            content=prepared.content_box,
        )
        if drawing is None:
            return _not_found(organ, prepared, time.perf_counter() - began)
        return self._finished(organ, drawing, coarse.mask[organ.name], prepared=prepared, began=began)

    def _finished(
        self,
        organ: Organ,
        drawing: Drawing,
        cells: Bool[np.ndarray, "z y x"],
        *,
        prepared: Prepared,
        began: float,
    ) -> OrganSegmentation:
        settings = self.configuration.localisation
        cleaned, kept, removed = _without_small_parts(drawing.probability, settings.keep_fraction)
        fine = cleaned >= 0.5  # noqa: PLR2004 (what a mask is)
        box, probability = restore(cleaned, drawing.box_zyx, prepared)
        result = OrganSegmentation(
            organ=organ,
            box_zyx=box,
            probability=probability.astype(np.float16),
            voxel_volume_ml=prepared.source_geometry.voxel_volume_ml,
            flags=OrganFlags(),
            seconds=0.0,
        )
        agreement = coarse_fine_dice(fine, box_zyx=drawing.box_zyx, cells=cells, stride_zyx=self._stride_zyx)
        if result.mask is None or not result.mask.any() or agreement < settings.reject_dice:
            return _not_found(organ, prepared, time.perf_counter() - began, agreement=agreement)
        cut = scan_faces_reached(result.mask, box, prepared.source_geometry)
        flags = OrganFlags(
            cut_by_scan=cut,
            regrown=drawing.regrown,
            touches_box=box_faces_reached(fine, drawing.box_zyx, prepared.content_box, cut_by_scan=cut),
            several_components=kept if kept > 1 else 0,
            removed_components=removed,
            coarse_fine_disagree=agreement < settings.disagree_dice,
            coarse_fine_dice=round(agreement, 4),
            unusual_volume=has_unusual_volume(organ, result.volume_ml, cut_by_scan=bool(cut)),
        )
        return dataclasses.replace(result, flags=flags, seconds=time.perf_counter() - began)


def segment(
    volume: Volume,
    *,
    model: str | Path = DEFAULT_MODEL,
    organs: Sequence[str] | None = None,
    device: str = "auto",
) -> Segmentation:
    """Segment a CT in memory; see :func:`read_model` for the model and :meth:`Predictor.predict`."""
    bundle = read_model(model, organs=organs, accelerated=choose_device(device).type != "cpu")
    return Predictor.from_bundle(bundle, device=device).predict(volume)


def _without_small_parts(
    probability: Float32[np.ndarray, "z y x"], keep_fraction: float
) -> tuple[Float32[np.ndarray, "z y x"], int, int]:
    """Return the probability with small parts of its mask set to 0, and how many parts stayed and went."""
    mask = probability >= 0.5  # noqa: PLR2004
    sizes = component_sizes(mask)
    if len(sizes) < 2:  # noqa: PLR2004 (nothing to remove)
        return probability, len(sizes), 0
    least = int(np.ceil(keep_fraction * sizes[0]))
    kept = components_of_at_least(mask, least)
    stayed = int(np.count_nonzero(sizes >= least))
    return np.where(mask & ~kept, np.float32(0), probability), stayed, len(sizes) - stayed


def _not_found(
    organ: Organ, prepared: Prepared, seconds: float, *, agreement: float | None = None
) -> OrganSegmentation:
    """Return the result without a contour; the agreement, where a fine mask was drawn but not kept."""
    drawn = (
        {} if agreement is None else {"coarse_fine_disagree": True, "coarse_fine_dice": round(agreement, 4)}
    )
    return OrganSegmentation(
        organ=organ,
        box_zyx=None,
        probability=None,
        voxel_volume_ml=prepared.source_geometry.voxel_volume_ml,
        flags=OrganFlags(not_found=True, **drawn),
        seconds=seconds,
    )


def _coarse_geometry(fine: Geometry, stride_zyx: Index3, shape_zyx: Index3) -> Geometry:
    """Return the grid whose cells are blocks of ``stride_zyx`` voxels, by the blocks' centres."""
    matrix = fine.lps_from_index.copy()
    matrix[:3, :3] *= np.array(stride_zyx)
    z, y, x = ((s - 1) / 2 for s in stride_zyx)
    matrix[:3, 3] = fine.position_xyz_mm((z, y, x))
    return Geometry(shape_zyx=shape_zyx, lps_from_index=matrix)


def _too_large(geometry: Geometry) -> str:
    z, y, x = (round(s, 3) for s in geometry.spacing_zyx_mm)
    return (
        f"not enough memory for a scan of {geometry.shape_zyx} voxels (z, y, x) at {z}, {y}, {x} mm; "
        "use another --device, or a model with a coarser grid"
    )
