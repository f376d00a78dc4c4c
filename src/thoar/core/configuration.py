"""What a run can be told: nested frozen records, read from TOML, strict about every key.

The defaults are the paper's, as docs/explanation/method.md reads it; ``configs/`` holds the shipped
recipes. A run resolves one file plus ``--set a.b=value`` pairs into one :class:`Configuration`, which is
stored with every run and bundle.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from thoar.core.box import Index3
from thoar.core.errors import ConfigError

_MOST = 10**9  # keeps infinity out; no setting comes near

Count = Annotated[int, Meta(ge=0, le=_MOST)]
Positive = Annotated[int, Meta(ge=1, le=_MOST)]
Amount = Annotated[float, Meta(ge=0, le=_MOST)]
Length = Annotated[float, Meta(gt=0, le=_MOST)]
Share = Annotated[float, Meta(ge=0, le=1)]
Probability = Annotated[float, Meta(gt=0, lt=1)]
"""A threshold of a probability: neither everything nor nothing passes it."""
Factors = tuple[Positive, Positive, Positive]
Range = tuple[float, float]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every configuration record: immutable, keyword-only, unknown keys refused."""


class Preparation(Section, frozen=True):
    """From a scan to the grid the network sees (S1).

    Attributes:
        spacing_zyx_mm: voxel size after resampling.
        window_hu: values are clipped to this and mapped linearly to 0..1; 0 is what padding means.
    """

    spacing_zyx_mm: tuple[Length, Length, Length] = (3.0, 1.0, 1.0)
    window_hu: Range = (-1000.0, 1000.0)


class Body(Section, frozen=True):
    """The crop to the patient's body (S2, S3).

    Attributes:
        crop: off keeps the whole field of view (an ablation of S24).
        mask_outside: voxels outside the body become air.
        clip_hu: values are clipped to this before Otsu's threshold.
    """

    crop: bool = True
    mask_outside: bool = True
    clip_hu: Range = (-1024.0, 1000.0)


class Block(Section, frozen=True):
    """One residual block of the encoder (S6, S7): its stride sits in its first convolution."""

    channels: Positive
    convolutions: Positive
    stride_zyx: Factors = (1, 1, 1)
    dilation: Positive = 1


class Network(Section, frozen=True):
    """The shared encoder and both decoders (S4 to S9, S14 to S16).

    Attributes:
        stem_channels: width of the first convolution, at full resolution.
        blocks: the encoder's residual blocks; the last three carry a coarse head each.
        average: how the three heads are joined, ``sigmoids`` as printed, ``logits`` with one sigmoid.
        shortcut_kernel: size of the shortcuts' projections, 3 as S20 says, or 1.
        decoder_channels: widths of the fine decoders, for the stem's level and each block's; none for the
            encoder's own, which S15 means.
        encoders: one ``shared`` by coarse and fine decoders (S4), or a ``separate`` one for each (an ablation
            of S24).
    """

    stem_channels: Positive = 16
    blocks: Annotated[tuple[Block, ...], Meta(min_length=3)] = (
        Block(channels=32, convolutions=2, stride_zyx=(1, 2, 2)),
        Block(channels=64, convolutions=2, stride_zyx=(2, 2, 2)),
        Block(channels=128, convolutions=3, stride_zyx=(1, 2, 2), dilation=3),
        Block(channels=256, convolutions=3, dilation=6),
    )
    average: Literal["sigmoids", "logits"] = "sigmoids"
    shortcut_kernel: Literal[1, 3] = 3
    decoder_channels: tuple[Positive, ...] = ()
    encoders: Literal["shared", "separate"] = "shared"

    def __post_init__(self) -> None:
        given, levels = len(self.decoder_channels), 1 + len(self.blocks)
        if given not in (0, levels):
            raise ConfigError(
                f"network.decoder_channels has {given} widths; give one for the stem and each block "
                f"({levels}), or none"
            )

    @property
    def total_stride_zyx(self) -> Index3:
        """Input voxels per coarse cell along each axis."""
        return self.stride_zyx_of_levels[-1]

    @property
    def stride_zyx_of_levels(self) -> tuple[Index3, ...]:
        """Input voxels per feature voxel, for the stem and each block."""
        strides: list[Index3] = [(1, 1, 1)]
        for block in self.blocks:
            (z, y, x), (bz, by, bx) = strides[-1], block.stride_zyx
            strides.append((z * bz, y * by, x * bx))
        return tuple(strides)

    @property
    def channels_of_levels(self) -> tuple[int, ...]:
        """Feature channels of the stem and of each block."""
        return (self.stem_channels, *(block.channels for block in self.blocks))

    @property
    def decoder_channels_of_levels(self) -> tuple[int, ...]:
        """Feature channels of the fine decoders at each of these levels."""
        return self.decoder_channels or self.channels_of_levels


class Localisation(Section, frozen=True):
    """From the coarse map to one box per organ (S11, S12), and the regrowing of boxes.

    Attributes:
        threshold: least coarse probability that counts, for organs not in ``organ_threshold``.
        margin_cells: coarse cells added at every face, for organs not in ``organ_margin_cells``.
        min_component_cells: smaller coarse components are dropped, unless none is larger.
        min_box_cells: a box has at least so many coarse cells along each axis, in training too; more than a
            scan has gives the decoders the whole volume (an ablation of S24).
        regrow_times: how often a box that its organ touches may grow; 0 switches regrowing off.
        regrow_volume: a box never grows beyond so many times its first volume.
        contact_threshold: fine probability that counts as touching a face.
        keep_fraction: fine components smaller than this part of the largest are removed.
        disagree_dice: coarse and fine masks whose Dice is lower raise the flag ``coarse_fine_disagree``.
        reject_dice: where it is lower even than this, the organ counts as not found; 0 never rejects.
    """

    threshold: Probability = 0.3
    organ_threshold: dict[str, Probability] = msgspec.field(default_factory=lambda: {"heart": 0.5})
    margin_cells: Count = 2
    organ_margin_cells: dict[str, Count] = msgspec.field(default_factory=lambda: {"heart": 1})
    min_component_cells: Positive = 5
    min_box_cells: Positive = 4
    regrow_times: Count = 3
    regrow_volume: Length = 3.0
    contact_threshold: Probability = 0.5
    keep_fraction: Share = 0.1
    disagree_dice: Share = 0.5
    reject_dice: Share = 0.0


class Loss(Section, frozen=True):
    """Soft Dice and hard voxel mining (S10, S17, S18).

    Attributes:
        union: ``sum`` divides by the two sums, ``literal`` by the soft union as the paper prints it.
        smoothing: added to numerator and denominator.
        absent: what a labelled organ without a voxel in the sample adds to the coarse loss: nothing
            (``ignore``), or the mean probability of what was drawn in its place (``suppress``).
        mining: how hard voxels weigh more in the fine loss.
        mining_alpha: strength of ``weights``: each voxel counts 1 + alpha·|p − g|^gamma.
        mining_gamma: exponent of ``weights``.
        mining_ramp_epochs: joint epochs over which alpha rises from 0.
        hardest_fraction: part of the voxels whose cross-entropy ``topk`` averages, and the part of
            background voxels that ``ohem`` keeps.
    """

    union: Literal["sum", "literal"] = "sum"
    smoothing: Amount = 1.0
    absent: Literal["ignore", "suppress"] = "ignore"
    mining: Literal["weights", "topk", "ohem", "none"] = "weights"
    mining_alpha: Amount = 2.0
    mining_gamma: Amount = 1.0
    mining_ramp_epochs: Count = 5
    hardest_fraction: Annotated[float, Meta(gt=0, le=1)] = 0.1


class Augmentation(Section, frozen=True):
    """Random changes of a training case: the ranges from which one parameter record is drawn.

    Attributes:
        probability: of each kind of change, on its own.
        rotation_degrees_zyx: largest angle about each axis.
        scale: largest relative change of size, per axis.
        elastic_mm: largest standard deviation of the smooth displacements.
        elastic_period_mm: distance of their control points.
        shift_hu: largest offset.
        gain: largest relative change of all values.
        contrast_gain: least and largest factor on HU above ``contrast_knee_hu``: blood from native to
            freshly enhanced.
        contrast_knee_hu: where that factor sets in.
        noise_hu: largest standard deviation of white noise.
        blur_mm: largest standard deviation of an in-plane blur.
        thick_slices_mm: largest thickness over which slices are averaged.
        short_scan_probability: how often only a part of the scan along z is seen.
        short_scan_cells: least coarse slices of such a part.
        longest_scan_cells: most coarse slices that are ever seen of a scan, a random part of longer ones:
            what bounds memory where scans are long; 0 for all.
        mirror_probability: how often left and right are exchanged, and with them the labels of the label
            set's symmetric pairs; only for label sets in which every organ has its twin.
    """

    enabled: bool = True
    probability: Share = 0.5
    rotation_degrees_zyx: tuple[Amount, Amount, Amount] = (10.0, 5.0, 5.0)
    scale: Amount = 0.15
    elastic_mm: Amount = 4.0
    elastic_period_mm: Length = 60.0
    shift_hu: Amount = 20.0
    gain: Share = 0.1
    contrast_gain: tuple[Amount, Amount] = (0.2, 1.5)
    contrast_knee_hu: float = 50.0
    noise_hu: Amount = 30.0
    blur_mm: Amount = 1.5
    thick_slices_mm: Amount = 6.0
    short_scan_probability: Share = 0.15
    short_scan_cells: Positive = 12
    longest_scan_cells: Count = 0
    mirror_probability: Share = 0.0


class Boxes(Section, frozen=True):
    """The boxes that fine decoders are trained on (method.md, training boxes).

    Attributes:
        jitter_cells: each face of the ground-truth box moves outward by 0 to this many coarse cells.
        wide_probability: how often a box becomes up to twice as wide instead.
        prediction_from: part of the joint stage after which every step may use the predicted box;
            before, its probability rises linearly.
        union_limit: the predicted box is united only where that stays below so many ground-truth boxes.
        cap: no box is larger than so many times the organ's 99th-percentile box.
    """

    jitter_cells: Count = 2
    wide_probability: Share = 0.25
    prediction_from: Share = 0.5
    union_limit: Length = 3.0
    cap: Length = 1.5


class Train(Section, frozen=True):
    """The two stages (S21, S22) and their optimiser.

    Attributes:
        coarse_epochs: epochs of encoder and coarse heads alone.
        joint_epochs: epochs of everything together.
        optimiser: ``adam`` with amsgrad, or ``adamw``.
        learning_rate: its peak.
        encoder_rate: the encoder's rate as a part of it: below 1 where a trained encoder is adapted, 0 to
            leave the encoder as it is.
        schedule: ``constant``, or ``cosine`` down to a hundredth over both stages.
        warmup_steps: steps over which the rate rises linearly.
        weight_decay: of ``adamw``.
        gradient_norm: gradients are clipped to this norm; 0 leaves them.
        averaging: decay of the exponential moving average of the weights; 0 for none.
        precision: of the network's arithmetic; losses and sigmoids stay float32. ``float16`` scales the
            losses; ``float64`` is for proofs.
        batch_cases: cases of one change of the weights, whose gradients are averaged; several processes share
            them, so it is a multiple of their number, which changes nothing but speed.
        recomputed_levels: so many of the encoder's first levels (the stem, then blocks) are computed again on
            the way back instead of being kept: less memory, more time, the same result.
        prefetch: cases that are drawn ahead by a thread; 0 draws each when it is its turn.
        cases_per_epoch: cases of one epoch, drawn without repetition; 0 takes every case once.
        validation_cases: how many cases are held out when no split is given.
        validate_every: epochs between validations; the last epoch of a stage is always validated.
        patience: the joint stage ends after so many validations in a row without a better score; 0 never.
        seed: of every random stream.
        threads: of torch on a CPU; 0 leaves its default.
    """

    coarse_epochs: Count = 40
    joint_epochs: Count = 50
    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: Length = 1e-4
    encoder_rate: Share = 1.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: Count = 0
    weight_decay: Amount = 0.0
    gradient_norm: Amount = 0.0
    averaging: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    precision: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    batch_cases: Positive = 1
    recomputed_levels: Count = 0
    prefetch: Count = 0
    cases_per_epoch: Count = 0
    validation_cases: Count = 1
    validate_every: Positive = 1
    patience: Count = 0
    seed: Count = 0
    threads: Count = 0


class Configuration(Section, frozen=True):
    """Everything one run can be told.

    Raises:
        ConfigError: if a value cannot mean anything.
    """

    name: str = "paper"
    preparation: Preparation = Preparation()
    body: Body = Body()
    network: Network = Network()
    localisation: Localisation = Localisation()
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    boxes: Boxes = Boxes()
    train: Train = Train()

    def __post_init__(self) -> None:
        ranges = {
            "preparation.window_hu": self.preparation.window_hu,
            "body.clip_hu": self.body.clip_hu,
            "augmentation.contrast_gain": self.augmentation.contrast_gain,
        }
        for path, (low, high) in ranges.items():
            if not -_MOST < low < high < _MOST:
                raise ConfigError(f"{path} = {(low, high)} does not rise from a least to a largest value")


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into plain dictionaries.

    Raises:
        ConfigError: if the file is missing or is not TOML.
    """
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no TOML file: {error}") from error


def configuration_from(
    values: Mapping[str, Any], *, overrides: Sequence[str] = (), source: str = "configuration"
) -> Configuration:
    """Build a configuration from plain dictionaries and ``section.key=value`` overrides.

    An override's value is read as TOML; what is not TOML is taken as a string.

    Args:
        values: nested dictionaries, as :func:`load_toml` gives them.
        overrides: for example ``["train.joint_epochs=3", "loss.mining=none"]``.
        source: what to call the values in an error.

    Raises:
        ConfigError: for an unknown key (with its path), a wrong type, or an impossible value.

    >>> configuration_from({}, overrides=["train.joint_epochs=3"]).train.joint_epochs
    3
    """
    merged = _copied(values)
    for override in overrides:
        _apply_override(merged, override)
    try:
        return msgspec.convert(merged, Configuration)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from error


def plain(record: msgspec.Struct) -> dict[str, Any]:
    """Return a record as nested dictionaries that TOML and JSON can hold.

    None becomes an absent key, which TOML cannot spell otherwise.
    """
    return _without_none(msgspec.to_builtins(record))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_without_none(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copied(v) if isinstance(v, Mapping) else v for k, v in values.items()}  # pyright: ignore[reportUnknownArgumentType]


def _apply_override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override!r}: expected section.key=value, as in train.joint_epochs=3")
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"--set {override!r}: {key!r} is a value, not a section")
    values[keys[-1]] = _toml_value(text.strip())


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
