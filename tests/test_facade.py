import subprocess
import sys

import pytest

import thoar

NAMES = [
    "Geometry",
    "LabelSet",
    "Predictor",
    "Segmentation",
    "Volume",
    "__version__",
    "read_volume",
    "segment",
]


def test_the_facade_offers_these_names_and_no_others() -> None:
    assert sorted(thoar.__all__) == NAMES
    assert dir(thoar) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_facade_exists(name: str) -> None:
    assert getattr(thoar, name) is not None


def test_another_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Tumour'"):
        thoar.Tumour  # noqa: B018


def test_importing_the_facade_imports_neither_torch_nor_numpy() -> None:
    program = "import sys, thoar; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
