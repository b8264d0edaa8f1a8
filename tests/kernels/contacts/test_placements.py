"""Random numbers of placements: those of one thing are not those of another."""

from __future__ import annotations

from chunkflow_liver.kernels.contacts.placements import Chance, draws_of, order_of


def test_the_order_in_a_cube_has_random_numbers_of_its_own():
    """The cube (7, 0, 0) had those of object 7, and the first cube those of the bare seed."""
    chance = Chance(seed=3)
    firsts = [draws_of(chance, label).random() for label in range(1, 20)]
    firsts += [order_of(chance, (z, y, 0)).random() for z in range(20) for y in range(3)]
    assert len(set(firsts)) == len(firsts)
