from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from thoar.core.configuration import Configuration, Network, configuration_from, load_toml
from thoar.network.network import CoarseToFineNetwork, build_network

ORGANS = ("esophagus", "heart", "trachea", "aorta")


@pytest.fixture(scope="session", params=["configs/paper.toml", "the defaults"])
def paper(request: pytest.FixtureRequest) -> Network:
    if request.param == "the defaults":
        return Configuration().network
    return configuration_from(load_toml(Path(str(files("thoar"))) / request.param)).network


@pytest.fixture(scope="session")
def paper_network(paper: Network) -> CoarseToFineNetwork:
    return seeded(paper)


@pytest.fixture(scope="session")
def seeded_network() -> Callable[[Network], CoarseToFineNetwork]:
    return seeded


def seeded(configuration: Network) -> CoarseToFineNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(configuration, ORGANS).eval()
