import inspect

from thoar.core import errors

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.ThoarError)]


def test_every_error_but_the_root_has_an_exit_code_of_its_own_or_its_parents() -> None:
    for kind in CLASSES:
        expected = kind is errors.ThoarError
        assert (errors.exit_code_of(kind("x")) == errors.EXIT_BUG) == expected


def test_every_error_is_drawn_in_the_tree() -> None:
    assert errors.__doc__ is not None
    for kind in CLASSES:
        assert kind.__name__ in errors.__doc__


def test_kinds_of_input_error_share_its_code() -> None:
    for kind in (errors.GeometryError, errors.IncompleteSeriesError, errors.LabelError):
        assert errors.exit_code_of(kind("x")) == errors.exit_code_of(errors.InputError("x")) == 3


def test_what_is_not_ours_is_a_bug() -> None:
    assert errors.exit_code_of(KeyError("x")) == 1
