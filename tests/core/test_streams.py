"""Draws are functions of their coordinates alone, the same on every machine."""

import torch

from kdharness.core.streams import draw, mix, permutation, seeded, stream_seed


def splitmix64(state: int) -> int:
    """Reference in unbounded integers (Steele et al. 2014)."""
    mask = (1 << 64) - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_mix_is_splitmix64():
    values = [0, 1, 2, 12345, (1 << 62) + 7, -1, -(1 << 63)]
    expected = [splitmix64(v % (1 << 64)) for v in values]
    got = [int(v) % (1 << 64) for v in mix(torch.tensor(values))]
    assert got == expected
    assert got[0] == 0xE220A8397B1DCDAF  # the published first output of seed 0


def test_draws_do_not_depend_on_their_neighbours():
    whole = draw("augmentation", 3, 7, torch.arange(100))
    alone = draw("augmentation", 3, 7, torch.tensor([42]))
    assert whole[42] == alone[0]
    assert whole.min() >= 0
    assert not torch.equal(whole, draw("order", 3, 7, torch.arange(100)))
    assert not torch.equal(whole, draw("augmentation", 3, 8, torch.arange(100)))


def test_an_epoch_is_a_permutation_and_epochs_differ():
    index = torch.arange(1000)
    first, second = permutation(0, 1, index), permutation(0, 2, index)
    assert torch.equal(first.sort().values, index)
    assert not torch.equal(first, second)


def test_seeded_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with seeded("student", 0):
        inside = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded("student", 0):
        assert torch.equal(torch.rand(3), inside)
    assert stream_seed("student", 0) != stream_seed("student", 1)
