"""Running statistics and their gaps against numpy in float64."""

import math

import numpy as np
import pytest
import torch
import watched
from torch import nn

from bnexp.engine.rows import read
from bnexp.models.part_names import norm_places
from bnexp.norms.custom import CustomNorm
from bnexp.telemetry.counting import ACTIVATIONS, VARIANCES
from bnexp.telemetry.intervals import Due, Intervals
from bnexp.telemetry.layer_probe import LayerProbe
from bnexp.telemetry.running_stats import RunningStatistics, batch_moments

BOTH = Due(scalars=True, histograms=True)
SCALARS = Due(scalars=True, histograms=False)
HISTOGRAMS = Due(scalars=False, histograms=True)


def layers():
    """Two layers of different widths whose buffers have moved, and their inputs."""
    generator = torch.Generator().manual_seed(0)
    made = {"wide.norm": CustomNorm(12, (5, 5)), "flat.norm": nn.BatchNorm1d(3)}
    for layer in made.values():
        layer.running_mean.normal_(generator=generator)
        layer.running_var.uniform_(0.3, 3, generator=generator)
    inputs = {
        "wide.norm": 2 + 3 * torch.randn(4, 12, 5, 5, generator=generator),
        "flat.norm": torch.randn(7, 3, generator=generator),
    }
    return made, inputs


def observe(made, inputs, due=SCALARS, channels=()):
    observer = RunningStatistics(made, channels)
    observer.begin(due)
    for name, x in inputs.items():
        observer.enter(name, x)
        if name in made:
            made[name](x)  # moves the buffers, as the training pass does
        observer.leave(name, x)
    return read([observer.readings()])[0]


def numpy_gaps(layer, x):
    x = x.double().numpy().swapaxes(0, 1).reshape(x.shape[1], -1)
    running_mean, running_var = layer.running_mean.double().numpy(), layer.running_var.double().numpy()
    mean_gaps = [abs(m - c.mean()) / c.std() for m, c in zip(running_mean, x, strict=True)]
    var_gaps = [abs(math.log(v / c.var(ddof=1))) for v, c in zip(running_var, x, strict=True)]
    return float(np.mean(mean_gaps)), float(np.mean(var_gaps))


def close(value):
    return pytest.approx(value, rel=1e-5, abs=1e-6)


def test_scalars_are_the_means_minima_and_maxima_over_the_channels_before_the_step():
    made, inputs = layers()
    buffers = {
        name: (layer.running_mean.numpy().copy(), layer.running_var.numpy().copy())
        for name, layer in made.items()
    }
    found = observe(made, inputs).scalars
    for name, (means, variances) in buffers.items():
        for tag, values in ((f"running_mean/{name}", means), (f"running_var/{name}", variances)):
            assert found[f"{tag}/mean"] == close(values.mean())
            assert (found[f"{tag}/min"], found[f"{tag}/max"]) == (values.min(), values.max())


def test_the_batch_s_own_statistics_stand_beside_them():
    made, inputs = layers()
    found = observe(made, inputs).scalars
    for name in made:
        x = inputs[name].double().numpy().swapaxes(0, 1)
        channels = x.reshape(len(x), -1)
        for tag, values in (("batch_mean", channels.mean(1)), ("batch_var", channels.var(1))):
            assert found[f"{tag}/{name}/mean"] == close(values.mean())
            assert found[f"{tag}/{name}/min"] == close(values.min())
            assert found[f"{tag}/{name}/max"] == close(values.max())


def test_a_layer_that_saw_no_batch_has_no_statistics_of_one():
    made, inputs = layers()
    seen = next(iter(made))
    found = observe(made, {seen: inputs[seen]}).scalars
    assert {tag.split("/")[1] for tag in found if tag.startswith("batch_")} == {seen}


def test_gaps_are_those_to_the_whole_batch_of_before_the_step():
    made, inputs = layers()
    oracle = {name: numpy_gaps(layer, inputs[name]) for name, layer in made.items()}
    found = observe(made, inputs).scalars
    for name, gaps in oracle.items():
        assert (found[f"running_gap/{name}/mean"], found[f"running_gap/{name}/var"]) == close(gaps)


def test_a_gap_closes_where_the_buffers_hold_what_the_batch_would_put_there():
    layer = CustomNorm(6, (3, 3), momentum=1.0)
    x = 5 + 2 * torch.randn(2, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    layer(x)
    found = observe({"norm": layer}, {"norm": x}).scalars
    assert found["running_gap/norm/mean"] == pytest.approx(0, abs=1e-5)
    assert found["running_gap/norm/var"] == pytest.approx(0, abs=1e-5)


def test_a_large_mean_does_not_spoil_the_variance():
    x = 1e3 + torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    mean, batch_var = batch_moments(x)
    oracle = x.double().numpy()
    assert mean.tolist() == pytest.approx(oracle.mean(0).tolist(), rel=1e-6, abs=0)
    assert batch_var.tolist() == pytest.approx(oracle.var(0).tolist(), rel=1e-5, abs=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_moments_of_low_precision_inputs_are_taken_in_float32(dtype):
    x = (300 * torch.randn(50, 4, 3, 3, generator=torch.Generator().manual_seed(0))).to(dtype)
    mean, batch_var = batch_moments(x)
    oracle = x.double().numpy().swapaxes(0, 1).reshape(4, -1)
    assert mean.tolist() == pytest.approx(oracle.mean(1).tolist(), rel=1e-5, abs=1e-3)
    assert batch_var.tolist() == pytest.approx(oracle.var(1).tolist(), rel=1e-5, abs=0)


def test_a_channel_that_is_constant_in_the_batch_is_left_out_of_the_gaps():
    made, inputs = layers()
    x, layer = inputs["flat.norm"], made["flat.norm"]
    x[:, 1] = 4.0
    others = nn.BatchNorm1d(2)
    others.running_mean, others.running_var = layer.running_mean[[0, 2]], layer.running_var[[0, 2]]
    oracle = numpy_gaps(others, x[:, [0, 2]])
    found = observe(made, inputs).scalars
    assert (found["running_gap/flat.norm/mean"], found["running_gap/flat.norm/var"]) == close(oracle)


def test_a_dead_channel_whose_statistics_have_followed_it_is_left_out():
    layer, x = nn.BatchNorm1d(2), torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    x[:, 0] = 0.0
    layer.running_var[0] = 0.0
    oracle = numpy_gaps(nn.BatchNorm1d(1), x[:, 1:])
    found = observe({"norm": layer}, {"norm": x}).scalars
    assert (found["running_gap/norm/mean"], found["running_gap/norm/var"]) == close(oracle)


def test_rounding_of_a_constant_s_mean_is_no_spread():
    layer = CustomNorm(2, (28, 28))
    x = torch.randn(48, 2, 28, 28, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.1
    assert batch_moments(x)[1][1] > 0
    assert observe({"norm": layer}, {"norm": x}).scalars["running_gap/norm/mean"] < 1


def test_a_gap_without_channels_to_compare_is_not_logged():
    made, inputs = layers()
    inputs["flat.norm"].fill_(4.0)
    found = observe(made, inputs).scalars
    assert not [tag for tag in found if tag.startswith("running_gap/flat.norm")]
    assert all(math.isfinite(value) for value in found.values())


def test_a_running_variance_of_0_is_left_out_of_the_ratio_only():
    made, inputs = layers()
    made["flat.norm"].running_var[2] = 0
    found = observe(made, inputs).scalars
    assert math.isfinite(found["running_gap/flat.norm/var"])
    assert found["running_gap/flat.norm/mean"] == close(
        numpy_gaps(layers()[0]["flat.norm"], layers()[1]["flat.norm"])[0]
    )


def test_a_batch_that_is_not_finite_shows_in_its_own_layer_only():
    made, inputs = layers()
    inputs["flat.norm"][0, 0] = math.nan
    found = observe(made, inputs).scalars
    assert math.isnan(found["running_gap/flat.norm/mean"])
    assert math.isfinite(found["running_gap/wide.norm/mean"])


def test_infinities_of_both_signs_have_no_mean_and_no_warning():
    made, inputs = layers()
    made["flat.norm"].running_mean.copy_(torch.tensor([math.inf, -math.inf, 1.0]))
    scalars = observe(made, inputs).scalars
    assert math.isnan(scalars["running_mean/flat.norm/mean"])
    assert (scalars["running_mean/flat.norm/min"], scalars["running_mean/flat.norm/max"]) == (
        -math.inf,
        math.inf,
    )


def test_chosen_channels_are_traced_in_the_layers_that_have_them():
    made, inputs = layers()
    wide = made["wide.norm"].running_mean.tolist()
    flat = made["flat.norm"].running_var.tolist()
    found = observe(made, inputs, channels=[0, 2, 11, 12]).scalars
    assert [found[f"running_mean/wide.norm/channel_{c}"] for c in (0, 2, 11)] == [wide[0], wide[2], wide[11]]
    assert [found[f"running_var/flat.norm/channel_{c}"] for c in (0, 2)] == [flat[0], flat[2]]
    wide_x = inputs["wide.norm"].double().numpy().swapaxes(0, 1)
    for c in (0, 2, 11):
        assert found[f"batch_mean/wide.norm/channel_{c}"] == close(wide_x[c].mean())
        assert found[f"batch_var/wide.norm/channel_{c}"] == close(wide_x[c].var())
    assert sum("channel_" in tag for tag in found) == 4 * (3 + 2)


def test_histograms_count_the_channels_of_before_the_step():
    made, inputs = layers()
    buffers = {name: (layer.running_mean.clone(), layer.running_var.clone()) for name, layer in made.items()}
    found = observe(made, inputs, HISTOGRAMS)
    assert not found.scalars
    for name, both in buffers.items():
        for kind, values, grid in zip(("mean", "var"), both, (ACTIVATIONS, VARIANCES), strict=True):
            drawn = found.histograms[f"running_{kind}/{name}"]
            edges = np.array([-math.inf, *grid.limits[:-1], math.inf])
            assert drawn.counts == np.histogram(-values.numpy(), -edges[::-1])[0][::-1].tolist()
            assert drawn.limits == grid.limits
            assert (drawn.minimum, drawn.maximum) == (values.min(), values.max())


@pytest.mark.parametrize(
    "layer", [nn.Identity(), nn.GroupNorm(1, 3), nn.BatchNorm1d(3, track_running_stats=False)], ids=repr
)
def test_a_layer_without_running_statistics_has_no_tags(layer):
    found = observe({"norm": layer}, {"norm": torch.randn(4, 3)}, BOTH)
    assert not found.scalars and not found.histograms
    assert RunningStatistics({"norm": layer}, [0]).histogram_tags == []


def test_a_layer_that_was_not_reached_shows_its_buffers_without_gaps():
    made, inputs = layers()
    del inputs["wide.norm"]
    found = observe(made, inputs).scalars
    assert "running_mean/wide.norm/mean" in found
    assert not [tag for tag in found if tag.startswith("running_gap/wide.norm")]
    assert "running_gap/flat.norm/var" in found


def test_no_tag_is_a_scalar_and_a_histogram():
    found = observe(*layers(), BOTH, channels=[0])
    assert not found.scalars.keys() & found.histograms.keys()
    assert found.histograms.keys() == set(RunningStatistics(layers()[0], [0]).histogram_tags)


def test_away_from_the_cpu_nothing_is_read():
    made, inputs = layers()
    observer = RunningStatistics({name: layer.to("meta") for name, layer in made.items()}, [0])
    observer.begin(BOTH)
    for name, x in inputs.items():
        observer.enter(name, x.to("meta"))
    assert len(observer.readings()) == 2


def test_in_a_network_it_sees_the_buffers_of_before_the_pass():
    model = watched.network()
    with torch.no_grad():
        model(watched.images(seed=3).inputs)
    before = model.conv2.norm.running_mean.clone()
    names = norm_places(model)
    probe = LayerProbe(names, [RunningStatistics(names, [])], Intervals(1, None))
    found = watched.look([probe], model, watched.images())
    assert found.scalars["running_mean/conv2.norm/max"] == before.max()
    assert model.conv2.norm.running_mean.max() != before.max()
