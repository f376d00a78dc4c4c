"""The path from a scan to its contours, the same for users and for validation.

One pass of the encoder; from its levels the coarse map, a box per organ, and each organ's fine mask, whose
box grows as long as the organ touches it. No array at full resolution holds more than one organ.
"""

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from thoar.core.box import Box, Index3
from thoar.core.configuration import Configuration
from thoar.core.errors import ModelError
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import Volume
from thoar.imaging.prepare import Prepared, prepare
from thoar.inference.bundle import Bundle
from thoar.inference.device import choose_device
from thoar.inference.drawing import Drawing, draw_organ
from thoar.inference.ensemble import read_model
from thoar.inference.finishing import finished
from thoar.inference.full_memory import full_memory_explained
from thoar.inference.heap import keep_freed_slabs
from thoar.inference.localisation import OrganLocalisation, coarse_mask
from thoar.inference.memory import Allowance, with_writing
from thoar.inference.segmentation import CoarseResult, OrganSegmentation, Segmentation
from thoar.inference.shipped import DEFAULT_MODEL
from thoar.inference.slabs.ladder import AS_CHOSEN, ladder
from thoar.inference.slabs.memory import Need, drawing_need, encoding_need
from thoar.inference.slabs.network import by_slabs
from thoar.inference.slabs.precision import PrecisionName, choose_precision
from thoar.inference.stopwatch import Stopwatch
from thoar.network.encoder import KeptLevels
from thoar.network.network import CoarseToFineNetwork

SHORT_SCAN_CELLS = 12
"""Scans of fewer coarse slices get the flag ``short_scan`` (S7)."""

SLAB_DEVICES = ("cpu", "cuda")

PASTING_THREADS = 2
"""Organs are pasted while the next ones are drawn."""


class Predictor:
    """A network on a device, ready to segment scans.

    Args:
        network: is moved to the device and put into evaluation mode; it may lack decoders, whose organs
            are then not located or not drawn.
        configuration: of preparation, network and localisation.
        label_set: the organs that the network knows, and perhaps more.
        localisation: per organ.
        device: see :func:`thoar.inference.device.choose_device`.
        precision: see :func:`thoar.inference.slabs.precision.choose_precision`; None for the network's own
            modules instead of :mod:`thoar.inference.slabs`: the reference truth, slower and larger. So it is
            on other devices than CPUs and CUDA's. Memory is then neither predicted nor kept.
        max_ram_bytes: of this process; see :class:`thoar.inference.memory.Allowance`.
        max_vram_bytes: of a GPU; likewise.
    """

    def __init__(
        self,
        *,
        network: CoarseToFineNetwork,
        configuration: Configuration,
        label_set: LabelSet,
        localisation: Mapping[str, OrganLocalisation],
        device: str = "auto",
        precision: PrecisionName | None = "auto",
        max_ram_bytes: int | None = None,
        max_vram_bytes: int | None = None,
    ) -> None:
        self.device = choose_device(device)
        slabs = precision if self.device.type in SLAB_DEVICES else None
        self.precision = None if slabs is None else choose_precision(slabs, self.device)
        placed = network.to(self.device).eval()
        self.network = placed if self.precision is None else by_slabs(placed, self.precision)
        self.max_ram_bytes, self.max_vram_bytes = max_ram_bytes, max_vram_bytes
        self.configuration = configuration
        self.label_set = label_set
        self.localisation = dict(localisation)

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        *,
        device: str = "auto",
        precision: PrecisionName | None = "auto",
        max_ram_bytes: int | None = None,
        max_vram_bytes: int | None = None,
    ) -> "Predictor":
        """Return the predictor of a bundle; arguments as of the class.

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
            precision=precision,
            max_ram_bytes=max_ram_bytes,
            max_vram_bytes=max_vram_bytes,
        )

    def predict(self, volume: Volume, *, organs: Sequence[str] | None = None) -> Segmentation:
        """Segment a CT.

        Args:
            volume: Hounsfield units, in any axis order.
            organs: which ones; all where None. An organ's result does not depend on the others asked for.

        Raises:
            InputError: if the volume is no usable chest CT.
            LabelError: if the model does not know an organ, or was loaded without it.
            ResourceError: if memory does not suffice, or is predicted not to.
        """
        began = time.perf_counter()
        with full_memory_explained(lambda: _too_large(volume.geometry)):
            prepared = prepare(
                volume,
                preparation=self.configuration.preparation,
                body=self.configuration.body,
                multiple_zyx=self._stride_zyx,
                threads=torch.get_num_threads(),
            )
        return self.predict_prepared(prepared, organs=organs, prepare_s=time.perf_counter() - began)

    def predict_prepared(
        self, prepared: Prepared, *, organs: Sequence[str] | None = None, prepare_s: float = 0.0
    ) -> Segmentation:
        """Segment a scan that is prepared already; otherwise as :meth:`predict`."""
        wanted = self.drawn if organs is None else self.drawn.subset(tuple(organs))
        watch = Stopwatch({"prepare": prepare_s})
        with torch.inference_mode(), full_memory_explained(lambda: _too_large(prepared.geometry)):
            allowance = self._allowance()
            with watch("encode"):
                levels = self._encode(prepared, allowance)
            with watch("locate"):
                coarse = self._located(levels, prepared, wanted)
            with ThreadPoolExecutor(PASTING_THREADS) as threads:
                with watch("draw"):
                    pending = [
                        threads.submit(
                            self._finish,
                            organ,
                            self._draw(organ, levels, coarse, prepared, allowance),
                            coarse,
                            prepared,
                        )
                        for organ in wanted.organs
                    ]
                del levels
                with watch("paste"):
                    results = tuple(result.result() for result in pending)
        return Segmentation(
            geometry=prepared.source_geometry,
            label_set=wanted,
            organs=results,
            coarse=coarse,
            preparation=prepared.report,
            short_scan=coarse.geometry.shape_zyx[0] < SHORT_SCAN_CELLS,
            seconds=watch.seconds,
            memory=allowance.use,
        )

    def locate(self, prepared: Prepared) -> CoarseResult:
        """Return the coarse result of every organ that has a coarse channel, and nothing else."""
        with torch.inference_mode(), full_memory_explained(lambda: _too_large(prepared.geometry)):
            return self._located(
                self._encode(prepared, self._allowance()),
                prepared,
                self.label_set.subset(self.network.located),
            )

    @property
    def drawn(self) -> LabelSet:
        """The organs that are drawn when none is named."""
        return self.label_set.subset(self.network.drawn)

    @property
    def _stride_zyx(self) -> Index3:
        return self.configuration.network.total_stride_zyx

    def _allowance(self) -> Allowance:
        settings = {AS_CHOSEN: self.network}
        return Allowance(
            settings if self.precision is None else ladder(self.network, self.precision),
            device=self.device,
            max_ram_bytes=self.max_ram_bytes,
            max_vram_bytes=self.max_vram_bytes,
        )

    def _encode(self, prepared: Prepared, allowance: Allowance) -> KeptLevels:
        def need(network: CoarseToFineNetwork) -> Need:
            shape_zyx, voxels = prepared.geometry.shape_zyx, math.prod(prepared.source_geometry.shape_zyx)
            if self.device.type != "cpu":
                return encoding_need(network, shape_zyx, image_bytes=prepared.voxels.nbytes)
            return with_writing(encoding_need(network, shape_zyx), voxels)

        network = allowance.network_for(need, what=lambda: _described(prepared))
        return network.encode(torch.from_numpy(prepared.voxels)[None, None].to(self.device))

    def _located(self, levels: KeptLevels, prepared: Prepared, wanted: LabelSet) -> CoarseResult:
        maps = self.network.locate(levels).probability[0].float().cpu().numpy()
        return self._coarse_result(maps, prepared, wanted)

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

    def _draw(
        self,
        organ: Organ,
        levels: KeptLevels,
        coarse: CoarseResult,
        prepared: Prepared,
        allowance: Allowance,
    ) -> Drawing | None:
        finer = prepared.geometry.voxel_volume_ml / prepared.source_geometry.voxel_volume_ml

        def fitting(box: Box) -> CoarseToFineNetwork:
            return allowance.network_for(
                lambda network: drawing_need(
                    network.fine[organ.name], box.shape_zyx, network.strides_zyx, finer=finer
                ),
                what=lambda: f"{_described(prepared)}, {organ.name} in a box of {box.shape_zyx}",
            )

        return draw_organ(
            self.network,
            levels,
            organ=organ.name,
            cells=coarse.mask[organ.name],
            localisation=self.localisation[organ.name],
            settings=self.configuration.localisation,
            content=prepared.content_box,
            fitting=fitting,
        )

    def _finish(
        self, organ: Organ, drawing: Drawing | None, coarse: CoarseResult, prepared: Prepared
    ) -> OrganSegmentation:
        return finished(
            organ,
            drawing,
            coarse.mask[organ.name],
            prepared=prepared,
            settings=self.configuration.localisation,
            stride_zyx=self._stride_zyx,
        )


def segment(
    volume: Volume,
    *,
    model: str | Path = DEFAULT_MODEL,
    organs: Sequence[str] | None = None,
    device: str = "auto",
    precision: PrecisionName = "auto",
    max_ram_bytes: int | None = None,
    max_vram_bytes: int | None = None,
) -> Segmentation:
    """Segment a CT in memory; see :func:`read_model` for the model and :meth:`Predictor.predict`."""
    keep_freed_slabs()
    bundle = read_model(model, organs=organs, accelerated=choose_device(device).type != "cpu")
    predictor = Predictor.from_bundle(
        bundle,
        device=device,
        precision=precision,
        max_ram_bytes=max_ram_bytes,
        max_vram_bytes=max_vram_bytes,
    )
    return predictor.predict(volume)


def _coarse_geometry(fine: Geometry, stride_zyx: Index3, shape_zyx: Index3) -> Geometry:
    """Return the grid whose cells are blocks of ``stride_zyx`` voxels, by the blocks' centres."""
    matrix = fine.lps_from_index.copy()
    matrix[:3, :3] *= np.array(stride_zyx)
    z, y, x = ((s - 1) / 2 for s in stride_zyx)
    matrix[:3, 3] = fine.position_xyz_mm((z, y, x))
    return Geometry(shape_zyx=shape_zyx, lps_from_index=matrix)


def _described(prepared: Prepared) -> str:
    """Return a scan and its prepared grid in words."""
    report = prepared.report
    z, y, x = (round(s, 3) for s in report.source_spacing_zyx_mm)
    return (
        f"a scan of {report.source_shape_zyx} voxels (z, y, x) at {z}, {y}, {x} mm, prepared as "
        f"{report.prepared_shape_zyx}"
    )


def _too_large(geometry: Geometry) -> str:
    z, y, x = (round(s, 3) for s in geometry.spacing_zyx_mm)
    return (
        f"not enough memory for a scan of {geometry.shape_zyx} voxels (z, y, x) at {z}, {y}, {x} mm; "
        "use another --device, or a model with a coarser grid"
    )
