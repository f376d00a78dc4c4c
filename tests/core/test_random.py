from thoar.core.random import rng_for, seed_for


def test_seeds_are_the_same_on_every_machine() -> None:
    assert seed_for(0) == 5254295370254170289
    assert seed_for(0, "augment", 3, "case-7") == 80063276314207637
    assert seed_for(1, "a") == 1515775267073163690


def test_draws_are_the_same_on_every_machine() -> None:
    assert rng_for(0, "x").integers(0, 1000, 4).tolist() == [801, 892, 206, 38]


def test_streams_differ_by_seed_name_type_and_order() -> None:
    seeds = [
        seed_for(0, "a", 1),
        seed_for(1, "a", 1),
        seed_for(0, "a", "1"),
        seed_for(0, 1, "a"),
        seed_for(0, "a1"),
        seed_for(0, "a", 1, 0),
    ]
    assert len(set(seeds)) == len(seeds)


def test_a_seed_fits_every_generator() -> None:
    assert all(0 <= seed_for(s, "x") < 2**63 for s in range(200))
