"""What the options change in a compilation: passes left out, stages written down."""

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.passes.pipeline import PASSES, PLANNING


def build():
    x, y = gx.input("x", (None, 6)), gx.input("y", (None,), "int64")
    logits = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))(x)
    loss = nn.cross_entropy(logits, y)
    return gx.Model(inputs=x, outputs=logits, targets=y, loss=loss, optimizer=optim.Adam(0.01))


def losses(model):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 6)).astype("f4"), rng.integers(0, 3, 16)
    return [model.train_step(x, y) for _ in range(3)]


@pytest.mark.parametrize("name", [*(p for p in PASSES if p != "expand"), *PLANNING])
def test_any_pass_can_be_left_out(name):
    expected = losses(build())
    with gx.config(disable_passes=name):
        model = build()
        np.testing.assert_allclose(losses(model), expected, rtol=1e-5)
    if name in PASSES:
        assert name not in [p.name for p in model.report.passes]


def test_fusing_and_merging_save_kernels():
    with gx.config(disable_passes="fuse,merge"):
        alone = len(build().report.kernels)
    with gx.config(disable_passes="merge"):
        fused = len(build().report.kernels)
    both = build().report
    assert len(both.kernels) < fused < alone
    rows = {p.name: p for p in both.passes}
    assert rows["merge"].before - rows["merge"].after == 3  # four parameters, one update
    assert rows["fuse"].after < rows["fuse"].before


def test_an_unknown_pass_is_an_error():
    with gx.config(disable_passes="fuze"), pytest.raises(ValueError, match=r"fuze.*fuse"):
        losses(build())


def test_every_stage_is_written_down(tmp_path):
    with gx.config(dump=tmp_path / "stages"):
        model = build()
        losses(model)
    names = [path.name for path in sorted((tmp_path / "stages").iterdir())]
    assert names[0] == "00-graph.txt"
    assert [name.split("-")[1] for name in names[-3:]] == ["fuse.txt", "merge.txt", "module.txt"]
    assert (tmp_path / "stages" / names[-1]).read_text().strip() == model.source.strip()
