import math

import msgspec
import pytest
import torch

from thoar.core.configuration import Loss
from thoar.training.losses import absent_loss, coarse_loss, dice_loss, fine_loss, mining_alpha, soft_dice

BARE = Loss(smoothing=0.0)
LITERAL = Loss(smoothing=0.0, union="literal")


def row(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1)


def random_pair(shape=(2, 3, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    probability = 0.05 + 0.9 * torch.rand(shape, generator=generator, dtype=torch.float64)
    return probability.requires_grad_(), (torch.rand(shape, generator=generator) > 0.6).double()


P, G = row(0.5, 0.25, 1.0, 0.0), row(1.0, 0.0, 1.0, 0.0)
"""Σ p g = 1.5, Σ p = 1.75, Σ g = 2."""


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (BARE, 1 - 3 / 3.75),
        (Loss(smoothing=1.0), 1 - 4 / 4.75),
        (LITERAL, 1 - 3 / 2.25),
        (Loss(smoothing=1.0, union="literal"), 1 - 4 / 3.25),
    ],
)
def test_dice_is_the_formula_with_either_union(loss, expected):
    assert dice_loss(P, G, loss=loss).item() == pytest.approx(expected)


def test_weights_stand_inside_both_sums():
    # Σ w p g = 2.5, Σ w p = 3.25, Σ w g = 3
    assert dice_loss(P, G, loss=BARE, weight=row(1.0, 3.0, 2.0, 9.0)).item() == pytest.approx(1 - 5 / 6.25)


@pytest.mark.parametrize(("loss", "best", "worst"), [(BARE, 0.0, 1.0), (LITERAL, -1.0, 1.0)])
def test_perfection_gives_0_or_as_printed_minus_1_and_disjoint_masks_1(loss, best, worst):
    assert dice_loss(G, G, loss=loss).item() == best
    assert dice_loss(1 - G, G, loss=loss).item() == worst


def test_smoothing_makes_an_empty_prediction_of_an_empty_target_free_of_loss():
    assert dice_loss(0 * G, 0 * G, loss=Loss(smoothing=1.0)).item() == 0.0


def test_the_logged_dice_is_unweighted_and_a_dice_whatever_the_union():
    for union in ("sum", "literal"):
        assert soft_dice(P, G, loss=Loss(smoothing=0.0, union=union)).item() == pytest.approx(3 / 3.75)


def test_suppression_is_the_mean_probability_of_a_drawn_cell():
    assert absent_loss(row(0.5, 0.5, 0.0)).item() == pytest.approx(0.5 / 2)
    assert absent_loss(row(0.0, 0.0)).item() == 0.0
    assert absent_loss(torch.ones(10, 10, 10)).item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("loss", [BARE, LITERAL, Loss(), Loss(union="literal")])
def test_gradients_of_dice_are_right(loss):
    p, g = random_pair()
    assert torch.autograd.gradcheck(lambda p: dice_loss(p, g, loss=loss), p)
    assert torch.autograd.gradcheck(lambda p: dice_loss(p, g, loss=loss, weight=1 + g), p)


def test_the_gradient_of_suppression_is_right():
    assert torch.autograd.gradcheck(absent_loss, random_pair()[0])


@pytest.mark.parametrize("mining", ["none", "topk", "ohem"])
def test_gradients_of_fine_losses_are_right(mining):
    p, g = random_pair()
    loss = Loss(mining=mining, hardest_fraction=0.3)
    assert torch.autograd.gradcheck(lambda p: fine_loss(p, g, loss=loss, alpha=0.0), p)


def test_mined_weights_are_the_formula_and_carry_no_gradient():
    p, g = random_pair()
    loss = Loss(mining="weights", mining_gamma=2.0)
    weight = (1 + 3.0 * (p - g).abs() ** 2).detach()
    mined, expected = fine_loss(p, g, loss=loss, alpha=3.0), dice_loss(p, g, loss=loss, weight=weight)
    assert torch.equal(mined, expected)
    assert torch.equal(*(torch.autograd.grad(value, p)[0] for value in (mined, expected)))


def test_mined_weights_by_hand():
    # |p - g| = 0.5, 0.25, 0, 0: w = 2, 1.5, 1, 1; Σ w p g = 2, Σ w p = 2.375, Σ w g = 3
    loss = Loss(smoothing=0.0, mining="weights")
    assert fine_loss(P, G, loss=loss, alpha=2.0).item() == pytest.approx(1 - 4 / 5.375)


def test_weights_of_alpha_0_are_plain_dice():
    p, g = random_pair()
    plain = fine_loss(p, g, loss=Loss(mining="none"), alpha=2.0)
    assert torch.equal(fine_loss(p, g, loss=Loss(mining="weights"), alpha=0.0), plain)
    assert torch.equal(dice_loss(p, g, loss=Loss()), plain)


def test_topk_adds_the_cross_entropy_of_the_hardest_voxels():
    p, g = row(0.5, 0.9, 0.2, 0.1), row(1.0, 1.0, 0.0, 0.0)
    loss = Loss(smoothing=0.0, mining="topk", hardest_fraction=0.5)
    entropy = -(math.log(0.5) + math.log(0.8)) / 2
    assert fine_loss(p, g, loss=loss, alpha=0.0).item() == pytest.approx(1 - 2 * 1.4 / 3.7 + entropy)


def test_ohem_keeps_the_organ_and_only_the_hardest_background():
    p, g = row(0.5, 0.9, 0.2, 0.1), row(1.0, 0.0, 0.0, 0.0)
    loss = Loss(smoothing=0.0, mining="ohem", hardest_fraction=1 / 3)
    assert fine_loss(p, g, loss=loss, alpha=0.0).item() == pytest.approx(1 - 1.0 / 2.4)
    p = p.clone().requires_grad_()
    fine_loss(p, g, loss=loss, alpha=0.0).backward()
    assert p.grad is not None
    assert (p.grad != 0).flatten().tolist() == [True, True, False, False]


def test_a_box_full_of_the_organ_has_no_background_to_mine():
    p, g = random_pair()
    full = torch.ones_like(g)
    assert torch.equal(
        fine_loss(p, full, loss=Loss(mining="ohem"), alpha=0.0), dice_loss(p, full, loss=Loss())
    )


@pytest.mark.parametrize("mining", ["weights", "topk", "ohem", "none"])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_saturated_probabilities_give_finite_gradients(mining, target):
    p = torch.tensor([0.0, 1.0, 0.0, 1.0]).reshape(1, 2, 2).requires_grad_()
    fine_loss(p, torch.full((1, 2, 2), target), loss=Loss(mining=mining), alpha=2.0).backward()
    assert p.grad is not None
    assert p.grad.isfinite().all()


def organs(*rows):
    return torch.stack(rows)


def test_the_coarse_loss_is_the_mean_over_organs_that_are_labelled_and_present():
    q = row(0.1, 0.9, 0.3, 0.6)
    probability, target = organs(P, q, q, q), organs(G, G, 0 * G, G)
    expected = (dice_loss(P, G, loss=BARE) + dice_loss(q, G, loss=BARE)) / 2
    loss = coarse_loss(probability, target, labelled=[True, False, True, True], loss=BARE)
    assert loss.item() == pytest.approx(expected.item())


def test_an_absent_or_unlabelled_organ_gives_no_gradient():
    probability = organs(P, P, P).requires_grad_()
    coarse_loss(probability, organs(G, 0 * G, G), labelled=[True, True, False], loss=BARE).backward()
    assert probability.grad is not None
    assert [bool(g.any()) for g in probability.grad] == [True, False, False]


def test_suppress_gives_an_absent_organ_a_term_but_not_an_unlabelled_one():
    suppress = msgspec.structs.replace(BARE, absent="suppress")
    probability = organs(P, P, P).requires_grad_()
    loss = coarse_loss(probability, organs(G, 0 * G, 0 * G), labelled=[True, True, False], loss=suppress)
    assert loss.item() == pytest.approx((1 - 3 / 3.75 + 1.3125 / 2.75) / 2)
    loss.backward()
    assert probability.grad is not None
    assert [bool(g.any()) for g in probability.grad] == [True, True, False]


def test_without_any_term_the_coarse_loss_is_0_without_a_gradient():
    loss = coarse_loss(organs(P).requires_grad_(), organs(G), labelled=[False], loss=BARE)
    assert loss.item() == 0
    assert not loss.requires_grad


def test_alpha_rises_evenly_from_0_and_is_whole_from_the_ramps_end():
    loss = Loss(mining_alpha=2.0, mining_ramp_epochs=4)
    assert [mining_alpha(loss, joint_epoch=e) for e in range(6)] == [0, 0.5, 1, 1.5, 2, 2]
    assert mining_alpha(Loss(mining_alpha=2.0, mining_ramp_epochs=0), joint_epoch=0) == 2.0


def test_the_defaults_are_the_papers_reading():
    loss = Loss()
    assert (loss.union, loss.absent, loss.mining) == ("sum", "ignore", "weights")
    assert (loss.mining_alpha, loss.mining_gamma, loss.hardest_fraction) == (2.0, 1.0, 0.1)


@pytest.mark.parametrize("mining", ["weights", "topk", "ohem", "none"])
def test_what_is_no_number_comes_out_as_no_number_and_stops_nothing(mining):
    """Half precision overflows now and then; the step is then computed anew (training/optimise.py)."""
    p, g = random_pair()
    spoilt = p.detach().clone()
    spoilt[0, 0, 0] = math.nan
    assert fine_loss(spoilt, g, loss=Loss(mining=mining), alpha=2.0).isnan()
