"""Every method by its name, and many images explained batch by batch in flat memory."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor

from lentigo.errors import ConfigError, RunError
from lentigo.explain import cam, perturbation
from lentigo.explain.maps import joined
from lentigo.explain.methods import METHODS, explain_images, method_named
from tests.explain.nets import TwoClasses, bent_net, dead_net, malignant_less_benign, random_images, tiny_vgg, untrained

NAMES = ("grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "score_cam", "ablation_cam", "occlusion")


def test_methods_are_known_by_name() -> None:
    assert tuple(METHODS) == NAMES
    for name in NAMES:
        method = method_named(name)
        assert method is METHODS[name]
        assert "doi:" in method.source or "arXiv:" in method.source
        function = getattr(cam, name, None) or getattr(perturbation, name)
        images = random_images(2, 32)
        expected, found = (
            explain(untrained("tiny_vgg", 32, width=4), images) for explain in (function, method.explain)
        )
        assert_array_equal(found.malignant, expected.malignant)
    with pytest.raises(ConfigError, match=r"^method is 'cam'; known are grad_cam, grad_cam_plus_plus, .*, occlusion$"):
        method_named("cam")


@pytest.mark.parametrize("name", NAMES)
def test_all_explain_either_decision_of_anyones_network(name: str) -> None:
    layer = None if name == "occlusion" else "block"
    images = random_images(3, 32)
    found = METHODS[name].explain(TwoClasses(), images, layer=layer, target=malignant_less_benign)
    flipped = METHODS[name].explain(TwoClasses(), images, layer=layer, target=lambda out: -malignant_less_benign(out))
    assert_allclose(found.malignant, flipped.benign, rtol=1e-4, atol=1e-6)
    assert_allclose(found.benign, flipped.malignant, rtol=1e-4, atol=1e-6)
    assert_allclose(found.logits, -flipped.logits, rtol=1e-6)
    assert (found.malignant != 0).any()


@pytest.mark.parametrize("name", NAMES)
def test_one_colour_and_a_dead_head_never_give_nan(name: str) -> None:
    blank = torch.zeros(2, 3, 32, 32)
    found = METHODS[name].explain(untrained("tiny_vgg", 32, width=4), blank)
    for part in (found.malignant, found.benign, found.signed(), found.positive("benign")):
        assert part.isfinite().all()
    if name != "occlusion":  # its window of 32 px does not fit
        assert not METHODS[name].explain(dead_net(), random_images(2, 8)).signed().any()


def test_occlusion_refuses_a_layer() -> None:
    with pytest.raises(ConfigError, match="occlusion covers pixels and explains no layer, but layer is 'features'"):
        METHODS["occlusion"].explain(tiny_vgg(), random_images(1, 24), layer="features")


# ---------------------------------------------------------------- many batches


@pytest.mark.parametrize("name", ["grad_cam", "layer_cam", "ablation_cam"])
def test_batches_are_explained_in_order_and_one_at_a_time(name: str) -> None:
    model, images, done = bent_net(), random_images(7, 8), []

    def batches() -> Iterator[Tensor]:
        for start in (0, 3, 6):
            assert sum(done) == start  # a batch is asked for once the one before it is explained
            yield images[start : start + 3]

    pieces = list(explain_images(model, batches(), method=name, on_progress=done.append))
    assert [len(piece.malignant) for piece in pieces] == done == [3, 3, 1]
    assert all(
        isinstance(part, np.ndarray) for piece in pieces for part in (piece.malignant, piece.benign, piece.logits)
    )
    whole, found = METHODS[name].explain(model, images), joined(pieces)
    assert_allclose(found.malignant, whole.malignant, rtol=1e-4, atol=1e-6)
    assert_allclose(found.benign, whole.benign, rtol=1e-4, atol=1e-6)
    assert_allclose(found.logits, whole.logits, rtol=1e-5, atol=1e-7)
    assert found.malignant.dtype == found.logits.dtype == np.float32


def test_an_unknown_method_is_refused_before_a_batch_is_read() -> None:
    with pytest.raises(ConfigError, match=r"^method is 'cam'; known are grad_cam"):
        explain_images(bent_net(), [], method="cam")


def test_layer_and_target_reach_the_method() -> None:
    images = random_images(2, 8)
    (found,) = explain_images(TwoClasses(), [images], layer="stem", target=malignant_less_benign)
    expected = cam.grad_cam(TwoClasses(), images, layer="stem", target=malignant_less_benign)
    assert_array_equal(found.malignant, expected.malignant)


def test_a_batch_that_is_not_finite_is_refused() -> None:
    with pytest.raises(RunError, match=r"images \[1\] of a batch of 2 are not finite"):
        list(explain_images(bent_net(), [torch.stack([random_images(1, 8)[0], torch.full((3, 8, 8), torch.inf)])]))


SOAK = """
import resource, torch
from lentigo.explain.methods import explain_images
from tests.explain.nets import untrained

model = untrained("tiny_vgg", 48, blocks=1, width=2)
images = torch.rand(50, 3, 48, 48)

def peak_after(count):
    for piece in explain_images(model, (images + i / count for i in range(count // 50))):
        piece.signed()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB

print(peak_after(1_000), peak_after(10_000))
"""


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_images() -> None:
    """Maps, were they kept, are 41 MB, and so are the activations."""
    result = subprocess.run([sys.executable, "-c", SOAK], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    early_kib, late_kib = map(int, result.stdout.split())
    assert late_kib - early_kib < 10 * 1024
