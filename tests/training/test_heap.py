import subprocess
import sys

import pytest

HOLES = """
import torch
from thoar.training.heap import release_heap

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4096

torch.ones(6 * 2**20).sum()  # blocks of so many bytes come from the heap from now on
blocks = [torch.ones(2**20) for _ in range(64)]
last = blocks[-1]
del blocks
before = resident()
release_heap()
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no such holes")
def test_memory_in_holes_below_what_is_used_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", HOLES], check=True, capture_output=True, text=True)
    assert int(done.stdout) > 150 * 2**20
