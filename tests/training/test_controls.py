"""Which arms are set beside which, by kind."""

from collections.abc import Sequence

import pytest

from tests.training.branch_specs import small_spec
