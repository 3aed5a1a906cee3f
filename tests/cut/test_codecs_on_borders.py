"""Every codec stays inside the bound it declares, on the borders of real runs of real models."""

from random import Random

import numpy as np
import pytest
from hops import Journey
from real_models import NAMES, WIDE, real_model
from split_equals_whole import random_chain, random_walk

from cutwater.cut.form import Form
from cutwater.cut.lattice import build_lattice
from cutwater.wire.codecs.registry import CODEC_NAMES

FORMS = list(Form)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_codec_keeps_its_bound_on_the_borders_of(name: str) -> None:
    """Five stages along cuts that are offered, twice, and along any; the four hops of a run carry the four forms.

    A tensor that passes through a stage is converted there from one form into another, so that is seen as well.
    """
    model = real_model(name)
    journey = Journey(model.graph)
    rng = Random(name)
    offered = random_chain(build_lattice(model.graph, limit=5000), 5, rng)
    anywhere = random_walk(model.graph, 4, rng)
    for turn, cuts in ((0, offered), (1, anywhere), (2, offered)):
        between = [FORMS[(hop + turn) % len(FORMS)] for hop in range(len(cuts) - 2)]
        answer = journey.travel(cuts, [Form.RAW, *between, Form.RAW], model.feeds)
        for output, values in answer.items():
            assert values.dtype.name == model.graph.tensors[output].dtype
            assert values.dtype.kind != "f" or np.isfinite(values).all()
    assert journey.worst.keys() == set(CODEC_NAMES)
    assert name not in WIDE or journey.width >= 3
