"""The models that are measured: the shipped one, and a recipe's network whose weights nobody has trained."""

from importlib.resources import files
from pathlib import Path

import msgspec
import torch

from thoar.core.configuration import Configuration, configuration_from, load_toml
from thoar.core.labels import SEGTHOR
from thoar.inference.bundle import write_bundle
from thoar.inference.localisation import uncalibrated
from thoar.inference.shipped import FAST_MODEL
from thoar.io.atomic import replace_folder
from thoar.network.network import build_network

CONFIGS = Path(str(files("thoar"))) / "configs"
FAST = "fast"
"""The shipped model; every other name is a recipe's."""
WEIGHTS_SEED = 6
NARROWER = 4
"""How many times narrower a network is where things are only tried out."""


def model_of(work: Path, name: str) -> str:
    """Return what ``--model`` takes: ``fast`` is the shipped model, any other an untrained recipe.

    Args:
        work: keeps the untrained bundles.
        name: ``fast``, a recipe, or a recipe with ``-narrow`` behind it.
    """
    if name == FAST:
        return FAST_MODEL
    folder = work / "models" / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(folder, lambda new: _write_untrained(new, configuration_of(name)))
    return str(folder)


def configuration_of(name: str) -> Configuration:
    """Return the configuration of an untrained model."""
    recipe = name.removesuffix("-narrow")
    whole = configuration_from(load_toml(CONFIGS / f"{recipe}.toml"))
    return narrowed(whole) if recipe != name else whole


def narrowed(configuration: Configuration) -> Configuration:
    """Return a configuration whose network has fewer channels everywhere."""
    network = configuration.network
    replace = msgspec.structs.replace
    narrow = replace(
        network,
        stem_channels=network.stem_channels // NARROWER,
        blocks=tuple(replace(block, channels=block.channels // NARROWER) for block in network.blocks),
        decoder_channels=tuple(width // NARROWER for width in network.decoder_channels),
    )
    return replace(configuration, network=narrow)


def _write_untrained(folder: Path, configuration: Configuration) -> None:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(WEIGHTS_SEED)
        network = build_network(configuration.network, SEGTHOR.names)
    settings = configuration.localisation
    write_bundle(
        folder,
        network=network,
        configuration=configuration,
        label_set=SEGTHOR,
        localisation={name: uncalibrated(settings, name) for name in SEGTHOR.names},
        card="Untrained: the first random weights. For measuring time and memory alone.\n",
    )
