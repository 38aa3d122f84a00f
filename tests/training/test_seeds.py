import hashlib
import os
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.seeds import child_generator, child_seed

roots = st.integers(0, 2**63)
purposes = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
indices = st.integers(0, 10**6) | st.text("abc.", max_size=4)


@given(roots, purposes, indices)
def test_a_child_seed_is_the_first_63_bits_of_the_digest(root: int, purpose: str, index: int | str) -> None:
    digest = hashlib.sha256(b"\x00".join([str(root).encode(), purpose.encode(), str(index).encode()])).hexdigest()
    assert child_seed(root, purpose, index) == int(bin(int(digest, 16) | 1 << 256)[3 : 3 + 63], 2)


@given(st.lists(st.tuples(roots, purposes, indices.map(str)), unique=True, min_size=2, max_size=8))
def test_different_children_have_different_seeds(children: list[tuple[int, str, str]]) -> None:
    assert len({child_seed(*child) for child in children}) == len(children)


def test_moving_text_from_purpose_to_index_makes_another_child() -> None:
    assert child_seed(1, "order 1", "2") != child_seed(1, "order", "12") != child_seed(11, "order", "2")


def test_seeds_do_not_depend_on_the_hash_seed_of_the_interpreter() -> None:
    command = [sys.executable, "-c", "from training.seeds import *; print(child_seed(3, 'order', 'a'))"]
    printed = {
        int(subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout)
        for seed in ("1", "2")
    }
    assert printed == {child_seed(3, "order", "a")}


@given(roots, purposes)
def test_a_generator_begins_anew_each_time_and_leaves_global_state_alone(root: int, purpose: str) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 the global state is what must not move
    first, again = (child_generator(root, purpose).integers(0, 2**62, 4) for _ in range(2))
    assert first.tolist() == again.tolist() != child_generator(root, purpose, 1).integers(0, 2**62, 4).tolist()
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
