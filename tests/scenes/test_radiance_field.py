"""Fields: parts full inside, empty outside and differentiable everywhere; grids that interpolate,
batch and can be fitted."""

import pytest
import torch

from renderers import render
from scenes.cameras import orbit
from scenes.parts import Parts
from scenes.radiance_field import HashField, PartField, ShapEField, TriPlaneField, VoxelField


def test_inside_outside_and_colours(make):
    parts = make(
        {"color": (1.0, 0, 0), "half": (0.2, 0.2, 0.2)},
        {"color": (0.0, 0, 1), "centre": (1.0, 0.0, 0.5)},
        {"centre": (0.0, 1.0, 0.5), "existence": -1.0},
    )
    points = torch.tensor([[0.0, 0.1, 0.5], [1.0, 0.03, 0.5], [0.5, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 0.7]])
    density, color = PartField(parts).query(points)
    assert density[:2].min() > 199 and density[2:4].max() < 1e-3, "an absent part is not there"
    assert float(density[4]) == pytest.approx(100, rel=0.01), "half on the surface"
    torch.testing.assert_close(color[:2], torch.tensor([[1.0, 0, 0], [0, 0, 1]]), rtol=0, atol=1e-4)


def test_overlaps_are_no_denser_and_mix_colours(make):
    both = make({"color": (1.0, 0, 0)}, {"color": (0.0, 0, 1)})
    density, color = PartField(both).query(torch.tensor([[0.0, 0.05, 0.5]]))
    assert density[0] <= 200
    torch.testing.assert_close(color[0], torch.tensor([0.5, 0.0, 0.5]))


def test_batches_and_gradients(varied):
    vectors = varied.vectors().requires_grad_()
    points = torch.cat([torch.randn(2, 50, 3), varied.centres], 1).requires_grad_()
    density, color = PartField(Parts.from_vectors(vectors)).query(points)
    assert density.shape == (2, 74) and color.shape == (2, 74, 3)
    alone, _ = PartField(varied[1]).query(points[1])
    torch.testing.assert_close(density[1], alone)
    for gradient in torch.autograd.grad(density.sum() + color.sum(), (vectors, points)):
        assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_density_integrates_to_the_volume(make):
    parts = make({"exponents": (0.3, 0.8), "half": (0.3, 0.2, 0.25)})
    points = torch.rand(200_000, 3) * 0.8 + torch.tensor([-0.4, -0.4, 0.1])
    density, _ = PartField(parts).query(points)
    assert float(density.mean() / 200 * 0.8**3) == pytest.approx(float(parts.masses()[0]), rel=0.02)


LOW, HIGH = torch.tensor([-1.0, -2.0, 0.0]), torch.tensor([1.0, 2.0, 3.0])


def _points(count: int = 200) -> torch.Tensor:
    return LOW + (HIGH - LOW) * torch.rand(count, 3, generator=torch.Generator().manual_seed(0))


def test_voxels_that_hold_a_linear_function_interpolate_it_exactly():
    axes = [torch.linspace(float(a), float(b), n) for a, b, n in zip(LOW, HIGH, (3, 5, 4), strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    field = VoxelField(5 + x + 2 * y + z, torch.stack([(x + 1) / 2, (y + 2) / 4, z / 3], -1), LOW, HIGH)
    points = _points()
    density, color = field.query(points)
    torch.testing.assert_close(density, 5 + points @ torch.tensor([1.0, 2.0, 1.0]))
    torch.testing.assert_close(color, (points - LOW) / (HIGH - LOW))
    assert field.query(HIGH + torch.eye(3))[0].eq(0).all()  # nothing outside


def test_a_batch_of_voxels_is_its_fields():
    rng = torch.Generator().manual_seed(1)
    density, colors = torch.rand(2, 3, 4, 5, generator=rng), torch.rand(2, 3, 4, 5, 3, generator=rng)
    both = VoxelField(density, colors, LOW.expand(2, 3), HIGH.expand(2, 3)).query(_points().expand(2, -1, 3))
    for i in range(2):
        alone = VoxelField(density[i], colors[i], LOW, HIGH).query(_points())
        torch.testing.assert_close(both[0][i], alone[0])
        torch.testing.assert_close(both[1][i], alone[1])


def _decoder(width: int) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(width, 4)


def fields() -> dict[str, PartField | VoxelField | TriPlaneField | ShapEField]:
    corner, decoder = torch.zeros(3, 3), torch.nn.Linear(2, 4)
    vectors = torch.randn(3, 4, 19, requires_grad=True)
    weights = tuple(torch.randn(*b, 12, n, requires_grad=True) for b, n in (((3,), 93), ((), 12)))
    return {
        "parts": PartField(Parts.from_vectors(vectors)),
        "voxels": VoxelField(torch.rand(3, 2, 2, 2, requires_grad=True), torch.rand(3, 2, 2, 2, 3), corner, corner + 1),
        "planes": TriPlaneField(torch.randn(3, 3, 2, 4, 4, requires_grad=True), decoder, corner, corner + 1),
        "shap-e": ShapEField(weights, (torch.zeros(12), torch.zeros(12))),
    }


@pytest.mark.parametrize("name", ["parts", "voxels", "planes", "shap-e"])
def test_fields_can_be_selected_moved_and_detached(name):
    field, points = fields()[name], torch.rand(3, 7, 3)
    whole = field.query(points)
    assert field.batch_shape == (3,) and field[1].batch_shape == () and field[1:].batch_shape == (2,)
    for chosen, rows in ((field[1], points[1]), (field[1:], points[1:])):
        for found, wanted in zip(chosen.query(rows), whole, strict=True):
            torch.testing.assert_close(found, wanted[1] if rows.ndim == 2 else wanted[1:], rtol=1e-4, atol=1e-4)
    assert whole[0].requires_grad and not field.detach().query(points)[0].requires_grad
    assert not field.detach().query(points)[1].requires_grad
    torch.testing.assert_close(field.detach().query(points)[0], whole[0].detach(), rtol=1e-5, atol=1e-6)
    assert field.to("meta").bounds[0].is_meta and not field.bounds[0].is_meta
    with pytest.raises(IndexError, match="no batch dimension"):
        field[1][0]


def test_planes_are_summed_at_a_points_projections():
    """Each plane holds its own two coordinates, so that the sum is known at any point."""
    unit = torch.linspace(-1, 1, 9)
    v, u = torch.meshgrid(unit, unit, indexing="ij")
    planes = torch.stack([torch.stack([u, 10 * v]), torch.stack([100 * u, v]), torch.stack([u, 1000 * v])])
    field = TriPlaneField(planes, lambda features: torch.cat([features, features], -1), LOW, HIGH, density=1.0)
    points = _points()
    x, y, z = (2 * (points - LOW) / (HIGH - LOW) - 1).unbind(-1)
    density, color = field.query(points)
    torch.testing.assert_close(density, torch.nn.functional.softplus(x + 100 * x + y), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(color[:, 0], torch.sigmoid(10 * y + z + 1000 * z), rtol=1e-3, atol=1e-3)


def test_a_hash_grid_large_enough_is_a_grid():
    """One level of 4 cells in a table without collisions: linear between the corners, and each
    corner has its own row."""
    rows = 2**20
    field = HashField(
        torch.randn(1, rows, 2, generator=torch.Generator().manual_seed(0)),
        _decoder(2),
        LOW,
        HIGH,
        coarsest=4,
        finest=4,
    )
    a, b = LOW + 0.1 * (HIGH - LOW), LOW + 0.2 * (HIGH - LOW)
    along = torch.stack([torch.stack([a[0] + (b[0] - a[0]) * t, a[1], a[2]]) for t in torch.linspace(0, 1, 5)])
    raw = torch.logit(field.query(along)[1])
    torch.testing.assert_close(raw.diff(dim=0), raw.diff(dim=0)[:1].expand(4, 3), rtol=1e-3, atol=1e-4)
    corners = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 5)] * 3, indexing="ij"), -1).view(-1, 3)
    values = field.query(LOW + (HIGH - LOW) * corners)[1]
    assert len(values.round(decimals=5).unique(dim=0)) == 125


@pytest.mark.parametrize("kind", ["planes", "hash"])
def test_fields_can_be_fitted(kind):
    """What is asked of a trainable field: a ball is learnt from its density and colour alone."""
    rng = torch.Generator().manual_seed(0)
    if kind == "planes":
        weights = (0.1 * torch.randn(3, 8, 24, 24, generator=rng)).requires_grad_()
        decoder = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), _decoder(32))
        field = TriPlaneField(weights, decoder, -torch.ones(3), torch.ones(3), density=1.0)
    else:
        weights = (0.1 * torch.randn(4, 2**12, 2, generator=rng)).requires_grad_()
        decoder = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), _decoder(32))
        field = HashField(weights, decoder, -torch.ones(3), torch.ones(3), coarsest=4, finest=24, density=1.0)

    def loss() -> torch.Tensor:
        points = 2 * torch.rand(2000, 3, generator=rng) - 1
        density, color = field.query(points)
        inside = (points.norm(dim=-1) < 0.7).float()
        return (density - 4 * inside).square().mean() + (
            (color - torch.tensor([0.9, 0.2, 0.1])).square().sum(-1) * inside
        ).mean()

    optimizer = torch.optim.Adam([weights, *decoder.parameters()], lr=0.02)
    before = loss().item()
    for _ in range(80):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
    assert value.item() < 0.25 * before


def _shap_e_renderer() -> torch.nn.Module:
    """diffusers' own classes, tiny and random, with all the parts of the published ones."""
    from diffusers.pipelines.shap_e.renderer import ShapERenderer

    torch.manual_seed(0)
    shapes = ((8, 93), (8, 8), (8, 8), (8, 8))
    return ShapERenderer(param_shapes=shapes, d_latent=16, d_hidden=8, n_output=12).eval()


def test_shap_e_is_what_its_own_network_says():
    renderer = _shap_e_renderer()
    latents = torch.randn(2, 32, 16, generator=torch.Generator().manual_seed(1))
    points = 2 * torch.rand(2, 300, 3, generator=torch.Generator().manual_seed(2)) - 1
    density, color = ShapEField.from_latents(latents, renderer).query(points)
    assert density.gt(0).float().mean() > 0.1, "nothing to compare"
    for i in range(2):
        for name, weight in renderer.params_proj(latents[i : i + 1]).items():
            renderer.mlp.get_parameter(name.removeprefix("nerstf.")).data.copy_(weight[0])
        theirs = renderer.mlp(position=points[i], direction=None, ts=None, nerf_level="fine")
        torch.testing.assert_close(density[i], theirs.density[:, 0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(color[i], theirs.channels, rtol=1e-4, atol=1e-5)


def test_shap_e_is_drawn_with_gradients_to_its_latents():
    renderer = _shap_e_renderer()
    latents = torch.randn(2, 32, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    field = ShapEField.from_latents(latents, renderer)
    views = render(field, orbit(2, size=12, radius=4.0))
    assert views.rgb.shape == (2, 2, 12, 12, 3) and views.alpha.max() > 0.5
    (gradient,) = torch.autograd.grad(views.rgb.square().sum(), latents)
    assert gradient.isfinite().all() and (gradient.flatten(1).abs().amax(1) > 0).all()
    alone = render(ShapEField.from_latents(latents[1], renderer), orbit(2, size=12, radius=4.0))
    # Rounding differs with the size of the batch, and a ray picks its samples by densities.
    torch.testing.assert_close(views.rgb[1], alone.rgb, rtol=0, atol=1e-2)
    assert (views.rgb[1] - alone.rgb).abs().mean() < 1e-4 < 1e-2 < (views.rgb[0] - alone.rgb).abs().mean()
