"""A net that corrects the shares of templates."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from astropy.table import Table
from sklearn.exceptions import NotFittedError

from galaxysegment import Instances, persistence
from galaxysegment.datasets import make_blends
from galaxysegment.metrics import separation_scores
from galaxysegment.nets.shares._data import LessonDataset, collate_lessons
from galaxysegment.nets.shares._loss import ShareLoss, changed_shares
from galaxysegment.separation import TemplateSeparator, UNetSeparator
from galaxysegment.separation._lessons import _lopsided, blends_of, lessons_of, simulate_blends
from galaxysegment.separation._maps import corrected

SHAPE = (64, 72)
ROWS, COLUMNS = np.indices(SHAPE)
QUICK = {"weights": None, "base_width": 4, "max_epochs": 2, "random_state": 0, "n_iterations": 4}


def galaxy(y, x, flux, width, tilt=0.0):
    """A galaxy with an arm to one side: templates are symmetric, it is not."""
    radius = np.hypot(ROWS - y, COLUMNS - x)
    light = np.exp(-radius / width) * (1 + tilt * np.tanh((COLUMNS - x) / width))
    return flux * light / light.sum()


def blends(n, seed=0):
    random = np.random.default_rng(seed)
    lights = [
        np.stack(
            [
                galaxy(32 + random.uniform(-2, 2), 30, random.uniform(2000, 4000), 3, 0.7),
                galaxy(32 + random.uniform(-2, 2), 41, random.uniform(1000, 3000), 2, 0.7),
            ]
        )
        for _ in range(n)
    ]
    return np.stack([light.sum(axis=0) for light in lights]) + random.normal(
        size=(n, *SHAPE)
    ), lights


X, LIGHTS = blends(6)
RMS = np.ones_like(X)
PLACES = [
    Table({"y": [np.unravel_index(light.argmax(), SHAPE)[0] for light in lights], "x": [30, 41]})
    for lights in LIGHTS
]


@pytest.fixture(scope="module")
def trained():
    return UNetSeparator(**{**QUICK, "max_epochs": 30, "lr": 0.01}).fit(X, LIGHTS, RMS)


def errors(separator, seed=1):
    images, lights = blends(4, seed)
    sources = [Instances.from_masks([own > 1 for own in light]) for light in lights]
    separated = separator.separate(images, sources, np.ones_like(images))
    return np.mean(
        [
            np.abs(result.isolated(index) - own).sum() / own.sum()
            for result, light in zip(separated, lights, strict=True)
            for index, own in enumerate(light)
        ]
    )


def test_it_learns_what_templates_cannot_know(trained):
    losses = trained.history_[:, "train_loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert errors(trained) < 0.85 * errors(TemplateSeparator(n_iterations=4))


def test_an_untrained_net_divides_as_templates_do():
    net = UNetSeparator(**QUICK)
    net._seed = 0
    net._make_net({"n_maps": 6, "base_width": 4})
    ours = net.separate(X, PLACES, RMS)
    theirs = TemplateSeparator(n_iterations=4).separate(X, PLACES, RMS)
    for own, other in zip(ours, theirs, strict=True):
        assert own.fluxes == pytest.approx(other.fluxes, rel=1e-4)


def test_light_is_neither_lost_nor_made(trained):
    for image, separated in zip(X, trained.separate(X, PLACES, RMS), strict=True):
        assert np.allclose(separated.total() + separated.residual, image, atol=1e-3)
        assert all((part >= -5).all() for part in separated.parts)


def test_equal_seeds_give_equal_nets(trained):
    first, second = (UNetSeparator(**QUICK).fit(X, LIGHTS, RMS) for _ in range(2))
    other = UNetSeparator(**{**QUICK, "random_state": 1}).fit(X, LIGHTS, RMS)
    parts = [
        separator.separate(X[:1], PLACES[:1], RMS[:1])[0].parts[0]
        for separator in (first, second, other)
    ]
    assert np.array_equal(parts[0], parts[1]) and not np.array_equal(parts[0], parts[2])


def test_training_goes_on(trained, tmp_path):
    separator = UNetSeparator(**QUICK).fit(X, LIGHTS, RMS)
    n_epochs = len(separator.history_)
    separator.partial_fit(X, LIGHTS, RMS)
    assert len(separator.history_) == 2 * n_epochs
    path = tmp_path / "net.safetensors"
    persistence.save(trained, path)
    again = UNetSeparator(weights=path, n_iterations=4)
    expected = trained.separate(X, PLACES, RMS)[0].parts
    assert all(map(np.array_equal, again.separate(X, PLACES, RMS)[0].parts, expected))
    tuned = UNetSeparator(**{**QUICK, "weights": path, "lr": 1e-9}).fit(X, LIGHTS, RMS)
    assert errors(tuned) == pytest.approx(errors(trained), rel=0.2)


def test_the_truth_may_be_separated_light():
    images, lights = blends(3)
    exact = TemplateSeparator().separate(images, PLACES[:3], np.ones_like(images))
    separator = UNetSeparator(**QUICK).fit(images, exact)
    assert len(separator.history_) == 2 and len(lights) == len(exact)


def test_it_simulates_blends_to_learn_from():
    separator = UNetSeparator(**{**QUICK, "n_blends": 3, "max_epochs": 1}).fit()
    assert np.isfinite(separator.history_[-1, "train_loss"])
    first, second = (simulate_blends(2, np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.array_equal(first[0].image, second[0].image)
    for blend in first:
        noise = (blend.image - blend.lights.sum(axis=0))[blend.lights.sum(axis=0) < 5]
        assert np.std(noise) == pytest.approx(blend.noise[0, 0], rel=0.1)


def test_some_simulated_galaxies_are_lopsided():
    light, random = galaxy(30, 34, 1000, 2), np.random.default_rng(0)
    made = [_lopsided(light, random) for _ in range(100)]
    changed = [own for own in made if not np.array_equal(own, light)]
    assert 15 < len(changed) < 45
    for own in changed:
        assert own.sum() == pytest.approx(1000, rel=1e-3)
        assert np.unravel_index(own.argmax(), SHAPE) == (30, 34)


def test_the_net_divides_stamps_as_its_loss_does_whole_images():
    """Stamps that reach beyond the image, boxes that reach beyond stamps."""
    random = np.random.default_rng(0)
    boxes = np.array([[0, 0, 60, 72], [10, 20, 64, 72], [50, 3, 64, 9]])
    templates = [random.uniform(1, 5, (y1 - y0, x1 - x0)) for y0, x0, y1, x1 in boxes]
    corners = np.array([[-20, -7], [25, 30], [24, -30]])
    changes = random.normal(size=(3, 64, 64)).astype(np.float32)
    total, shares = np.zeros(SHAPE), np.zeros((3, *SHAPE))
    for share, template, (y0, x0, y1, x1) in zip(shares, templates, boxes, strict=True):
        share[y0:y1, x0:x1] = template
        total += share
    shares /= np.maximum(total, 1e-9)
    expected = changed_shares(
        torch.from_numpy(changes),
        torch.from_numpy(shares),
        torch.zeros(3, dtype=torch.int64),
        torch.from_numpy(corners),
        1,
    )
    scene = SimpleNamespace(boxes=boxes)
    changed = corrected(scene, templates, total, changes, corners)
    for light, share, (y0, x0, y1, x1) in zip(changed, expected.numpy(), boxes, strict=True):
        np.testing.assert_allclose(light, (share * total)[y0:y1, x0:x1], rtol=1e-4)
    assert np.abs(changed[0] / templates[0] - 1).max() > 0.1


def lessons():
    return [
        lesson
        for blend in blends_of(list(X[:2]), list(RMS[:2]), LIGHTS[:2])
        for lesson in lessons_of(TemplateSeparator(n_iterations=4), blend)
    ]


def test_turned_and_mirrored_lessons_agree_with_themselves():
    lesson = lessons()[0]
    loss = ShareLoss()
    for same in (lesson.turned(1), lesson.turned(3).mirrored(), lesson.turned(4)):
        values = []
        for each in (lesson, same):
            inputs, target = collate_lessons([each])
            changes = inputs[:, :1] / 5  # any change that turns with the blend
            values.append(loss(changes, target).item())
        assert values[0] == pytest.approx(values[1], rel=1e-3)
    back = lesson.turned(4)
    assert np.array_equal(back.corners, lesson.corners)
    assert np.allclose(back.centres, lesson.centres)


def test_the_loss_is_least_at_the_truth():
    inputs, target = collate_lessons(lessons())
    true = target["truths"] / target["truths"].sum(1).sum(1)[:, None, None]
    none = torch.zeros(len(inputs), 1, 64, 64)
    at_truth = dict(target)
    clean = torch.zeros_like(target["light"]).index_add(0, target["blend"], target["truths"])
    at_truth["shares"] = target["truths"] / clean[target["blend"]].clamp_min(1e-6)
    assert ShareLoss()(none, at_truth) < 0.5 * ShareLoss()(none, target)
    assert true.sum() == pytest.approx(len(inputs))


def test_changed_shares_keep_their_sum():
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand((3, 20, 30), generator=generator) / 2
    changes = torch.randn((3, 16, 16), generator=generator)
    blend = torch.tensor([0, 0, 1])
    corners = torch.tensor([[-4, 3], [10, 20], [2, 2]])
    changed = changed_shares(changes, shares, blend, corners, 2)
    assert torch.allclose(changed[:2].sum(0), shares[:2].sum(0), atol=1e-6)
    assert torch.allclose(changed[2], shares[2], atol=1e-6)
    assert not torch.allclose(changed[0], shares[0])


def test_items_of_a_training_set_vary_with_torchs_seed():
    data = LessonDataset(lessons(), training=True)
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        seen.add(float(data[0].inputs[0, 0, :20, :20].astype(float).sum()))
    assert len(seen) > 3


def test_without_weights_or_fit_it_says_so():
    with pytest.raises(NotFittedError):
        UNetSeparator(weights=None).separate(X, PLACES, RMS)
    with pytest.raises(ValueError, match="neither a file nor a name"):
        UNetSeparator(weights="nonsense").separate(X, PLACES, RMS)
    alone = [places[:1] for places in PLACES]
    with pytest.raises(ValueError, match="neither a file nor a name"):
        UNetSeparator(weights="nonsense").separate(X, alone, RMS)
    with pytest.raises(ValueError, match=r"^device='toaster' is no device of torch"):
        UNetSeparator(device="toaster").separate(X, PLACES, RMS)


def test_the_shipped_net_does_better_than_templates():
    """Blends of symmetric galaxies, as make_blends has them: 6 pixels apart."""
    pytest.importorskip("galsim")
    X, _, lights, catalog = make_blends(
        30, separation=(3, 8), return_isolated=True, return_catalog=True, random_state=99
    )
    places = [
        Table({"x": rows["x"].value, "y": rows["y"].value})
        for rows in (catalog[catalog["image"] == image] for image in range(len(X)))
    ]
    rms = np.full_like(X, 24.1)
    ours, theirs = (
        separation_scores(list(lights), separator.separate(X, places, rms))["flux_error"]
        for separator in (UNetSeparator(device="cpu"), TemplateSeparator())
    )
    assert ours < 0.97 * theirs


def test_other_model_files_are_refused(tmp_path):
    path = tmp_path / "template.safetensors"
    persistence.save(TemplateSeparator(), path)
    with pytest.raises(ValueError, match="holds no fitted UNetSeparator"):
        UNetSeparator(weights=path).separate(X, PLACES, RMS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((X,), "y is missing"),
        ((X, LIGHTS[:2]), "6 images, but y holds 2"),
        ((X[:1], [LIGHTS[0][0]]), r"y\[0\] must have shape"),
        ((X[:1], [LIGHTS[0][:, :40]]), r"y\[0\] has shape"),
        ((X[:1], [0 * LIGHTS[0]]), "without light"),
        ((X[:1], [LIGHTS[0][:1]]), "do two sources share light"),
        ((X[:1, None].repeat(3, axis=1), LIGHTS[:1]), "several bands"),
    ],
)
def test_unusable_training_data_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        UNetSeparator(**QUICK).fit(*arguments)
