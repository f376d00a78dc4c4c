"""Which cases are held out to validate on."""

from collections import defaultdict
from collections.abc import Sequence

from thoar.core.errors import ConfigError
from thoar.core.random import rng_for
from thoar.datasets.manifest import Case


def split_cases(cases: Sequence[Case], *, validation_cases: int, seed: int) -> tuple[list[Case], list[Case]]:
    """Return (training, validation) cases; the cases of one group stay on one side.

    Groups are taken in random order for validation as long as they fit into the number asked for.

    Args:
        cases: all of the data set.
        validation_cases: how many to hold out; 0 for none.
        seed: of the draw.

    Raises:
        ConfigError: if no training case would be left, or every group is larger than what is to be held out.
    """
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(case)
    names = sorted(groups)
    held: list[Case] = []
    for index in rng_for(seed, "split").permutation(len(names)):
        if len(held) + len(groups[names[index]]) <= validation_cases:
            held += groups[names[index]]
    held_ids = {case.id for case in held}
    training = [case for case in cases if case.id not in held_ids]
    if not training or (validation_cases and not held):
        raise ConfigError(
            f"train.validation_cases = {validation_cases} cannot be held out of {len(cases)} cases in "
            f"{len(groups)} groups; give more cases or another number (0 trains without validation)"
        )
    return training, sorted(held, key=lambda case: case.id)
