"""What an encoder's graph costs, small: closed forms, trained encoders, the table, the pictures."""

import json

import numpy as np
import pytest

from papers import faithful_inversion as module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "faithful-inversion"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEPS", 200)
        patch.setattr(module, "MEASURED_EVERY", 100)
        tree, encoders_of = module.models()["tree"], module.encoders_of
        names = ("faithful, topological", "edges reversed", "mean field")
        some = lambda model: {name: encoders_of(model)[name] for name in names}  # noqa: E731
        patch.setattr(module, "encoders_of", some)
        patch.setattr(module, "models", lambda: {"tree": tree})
        module.run(path, seed=0)
    return path


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "record.json").read_text())


@pytest.mark.slow
def test_trained_encoders_end_where_the_closed_form_says(record):
    rows = {row["encoder"]: row for row in record["encoders"]}
    for name, row in rows.items():
        if name.startswith("faithful"):
            assert not row["denied"]
            assert row["least"] < 1e-12
            assert row["trained"] < 1e-3
        else:
            assert row["denied"]
            assert row["least"] < row["trained"] < row["least"] + 2e-2
    # Λ of z1, z2, z3: 3, 3, 3 on the diagonal, −1 from the root to each child.
    precision = np.array([[3.0, -1, -1], [-1, 3, 0], [-1, 0, 3]])
    exact = 0.5 * (3 * np.log(3) - np.linalg.slogdet(precision)[1])
    np.testing.assert_allclose(rows["mean field"]["least"], exact, rtol=1e-6)


@pytest.mark.slow
def test_costs_of_edges_are_conditional_mutual_informations(record):
    costs = {(row["parent"], row["child"]): row for row in record["edges"]}
    assert len(costs) == 9
    assert all(row["least"] > 1e-3 and row["dependence"] > 1e-3 for row in costs.values())
    # The root's variance is 1/3 given both children, and 1/2 given one of them.
    assert costs["z3", "z1"]["dependence"] == pytest.approx(0.5 * np.log(3 / 2), rel=1e-6)


def test_the_hierarchys_reversed_edges_by_theory():
    """Two dependences denied, within each layer: the sum of two conditional informations."""
    model = module.models()["hierarchy"]
    row = module.described(model, module.encoders_of(model)["edges reversed"])
    assert len(row["denied"]) == 2
    np.testing.assert_allclose(row["least"], row["dependence"], rtol=1e-6)
    costs = {(r["parent"], r["child"]): r["dependence"] for r in module.edge_costs(model)}
    within = sum(cost for pair, cost in costs.items() if set(pair) in ({"z1", "z2"}, {"z3", "z4"}))
    np.testing.assert_allclose(row["least"], within, rtol=1e-6)


def test_lines_and_pictures(folder, record):
    lines = module.summary(record)
    assert "faithful, topological" in lines[1]
    assert any("z3 -> z2" in line for line in lines)
    pictures = module.draw(folder)
    assert [file.name for file in pictures] == ["training.png", "edges.png"]
    assert all(file.stat().st_size > 10_000 for file in pictures)
