"""A model as a folder: weights per part, what they were trained on, checksums; never pickle.

BUNDLE/
  manifest.json            labels, localisation, sources, SHA-256 of every other file
  configuration.toml       the resolved configuration of the run that made it
  encoder.safetensors  coarse.safetensors  fine_<organ>.safetensors
  coarse_<organ>.safetensors   of an organ that was added later
  card.md                  (optional) what a person should know before using it
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import tomli_w
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from thoar.core.configuration import Configuration, configuration_from, load_toml, plain
from thoar.core.errors import ConfigError, ModelError
from thoar.core.labels import LabelSet
from thoar.core.versions import version_of
from thoar.inference.localisation import OrganLocalisation
from thoar.inference.manifest import MANIFEST, History, Manifest, read_manifest
from thoar.network.network import CoarseToFineNetwork, build_network

CONFIGURATION = "configuration.toml"
CARD = "card.md"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """A model read from its folder and checked.

    Attributes:
        folder: where it was read from.
        manifest: see :class:`Manifest`.
        configuration: of the run that made it.
        network: float32, on the CPU, in evaluation mode; it has the decoders that were asked for.
    """

    folder: Path
    manifest: Manifest
    configuration: Configuration
    network: CoarseToFineNetwork


def parts_of(network: CoarseToFineNetwork) -> dict[str, dict[str, Tensor]]:
    """Return a network's weights by the file they are kept in."""
    return {name: module.state_dict() for name, module in _modules(network).items()}


def write_bundle(
    folder: Path,
    *,
    network: CoarseToFineNetwork,
    configuration: Configuration,
    label_set: LabelSet,
    localisation: Mapping[str, OrganLocalisation],
    about: Manifest | None = None,
    history: History | None = None,
    fine_trained: bool = True,
    half: bool = False,
    card: str = "",
) -> None:
    """Write a bundle into an existing, empty folder (callers make that atomic).

    Args:
        folder: to fill.
        network: whose weights to write.
        configuration: the resolved one.
        label_set: the organs, in channel order.
        localisation: per organ.
        about: a manifest whose name, sources and history are taken over.
        history: of the model, where there is no such manifest.
        fine_trained: see :class:`Manifest`.
        half: keep the weights in float16.
        card: text of ``card.md``.
    """
    parts = parts_of(network)
    history = about.history if about else history or History()
    for name, weights in parts.items():
        dtype = torch.float16 if half else torch.float32
        plain_weights = {key: value.detach().to("cpu", dtype).contiguous() for key, value in weights.items()}
        (folder / name).write_bytes(save(plain_weights))  # save_file would let nobody else read them
    (folder / CONFIGURATION).write_text(tomli_w.dumps(plain(configuration)), encoding="utf-8")
    if card:
        (folder / CARD).write_text(card, encoding="utf-8")
    manifest = Manifest(
        name=about.name if about else configuration.name,
        thoar_version=version_of("thoar"),
        label_set=label_set,
        localisation=dict(localisation),
        sources=about.sources if about else (),
        training_cases=history.trained_on.cases,
        training_sources=history.trained_on.sources,
        parameters=sum(value.numel() for weights in parts.values() for value in weights.values()),
        fine_trained=fine_trained,
        added=history.added,
        optional=history.optional,
        sha256={
            file.name: _sha256(file)
            for file in sorted(folder.iterdir())
            if file.name in {*parts, CONFIGURATION, CARD}
        },
    )
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))


def read_bundle(folder: Path, *, organs: Sequence[str] | None = None) -> Bundle:
    """Read a bundle, checking every file's SHA-256, every tensor's name, shape and finiteness.

    Args:
        folder: the bundle.
        organs: whose decoders are wanted; files that none of these needs are not read. All where None.

    Raises:
        ModelError: if anything is missing, damaged, or does not fit.
        LabelError: if the model does not know an organ.
    """
    manifest = read_manifest(folder)
    wanted = manifest.label_set if organs is None else manifest.label_set.subset(tuple(organs))
    unwanted = {
        file
        for name in manifest.label_set.names
        if name not in wanted.names
        for file in (_fine_file(name), _coarse_file(name))
    }
    contents = {
        name: _checked_bytes(folder, name, digest)
        for name, digest in manifest.sha256.items()
        if name not in unwanted
    }
    if CONFIGURATION not in contents:
        raise ModelError(f"{folder}: the manifest names no {CONFIGURATION}")
    configuration = _configuration(folder)
    network = _unfilled_network(folder, configuration, manifest)
    for decoders in (network.fine, network.own_coarse):
        for name in set(decoders) - set(wanted.names):
            del decoders[name]
    for name, module in _modules(network).items():
        if name not in contents:
            raise ModelError(f"{folder}: the manifest names no {name}, which its label set needs")
        _fill(module, _tensors(folder / name, contents[name]), folder / name)
    return Bundle(folder=folder, manifest=manifest, configuration=configuration, network=network.eval())


def _configuration(folder: Path) -> Configuration:
    try:
        return configuration_from(load_toml(folder / CONFIGURATION), source=str(folder / CONFIGURATION))
    except ConfigError as error:
        raise ModelError(str(error)) from error


def _modules(network: CoarseToFineNetwork) -> dict[str, nn.Module]:
    modules = {"encoder.safetensors": network.encoder, "coarse.safetensors": network.coarse}
    modules |= {_coarse_file(organ): decoder for organ, decoder in network.own_coarse.items()}
    return modules | {_fine_file(organ): decoder for organ, decoder in network.fine.items()}


def _coarse_file(organ: str) -> str:
    return f"coarse_{organ}.safetensors"


def _fine_file(organ: str) -> str:
    return f"fine_{organ}.safetensors"


def _unfilled_network(folder: Path, configuration: Configuration, manifest: Manifest) -> CoarseToFineNetwork:
    """Return a network of shapes alone: a hostile width takes no memory, and no random number is drawn."""
    try:
        with torch.device("meta"):
            return build_network(configuration.network, manifest.label_set.names, manifest.own_coarse)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: describes a network that cannot be built: {error}") from error


def _checked_bytes(folder: Path, name: str, digest: str) -> bytes:
    path = folder / name
    if Path(name).name != name:
        raise ModelError(f"{folder / MANIFEST}: names {name!r}, which is no plain file name")
    try:
        if not path.is_file():
            raise ModelError(f"{path}: is missing, or no plain file; fetch the model again")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); fetch the model again") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(f"{path}: does not match its SHA-256 in {MANIFEST}; it is damaged or was changed")
    return content


def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return load(content)
    except SafetensorError as error:
        raise ModelError(f"{path}: is no whole safetensors file: {error}") from error


def _fill(module: nn.Module, given: Mapping[str, Tensor], path: Path) -> None:
    expected = module.state_dict()
    strangers = sorted(set(given) ^ set(expected))
    if strangers:
        raise ModelError(f"{path}: missing or unexpected tensors: {', '.join(strangers[:5])}")
    for key, value in given.items():
        if value.shape != expected[key].shape:
            raise ModelError(
                f"{path}: {key} has shape {tuple(value.shape)}, "
                f"the configuration asks for {tuple(expected[key].shape)}"
            )
        if value.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ModelError(f"{path}: {key} holds {value.dtype}, weights are floating-point numbers")
        if not torch.isfinite(value).all():
            raise ModelError(f"{path}: {key} holds values that are no numbers")
    weights = {key: value.to(torch.float32, copy=True) for key, value in given.items()}
    module.load_state_dict(weights, assign=True)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
