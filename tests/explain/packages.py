"""Raw maps of two public tools, before their ReLU and before they stretch maps to [0, 1] one by one."""

import copy

import numpy as np
from captum.attr import LayerGradCam
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget
from torch import Tensor, nn

from lentigo.explain.layer import Target

CATEGORY = {"malignant": 1, "benign": 0}


class Scored(nn.Module):
    """A network whose output is the target's score, as the tools want it; a copy, for they leave things behind."""

    def __init__(self, model: nn.Module, target: Target | None) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.target = target

    def forward(self, images: Tensor) -> Tensor:
        output = self.model(images)
        return output if self.target is None else self.target(output)

    def layer(self, name: str | None) -> nn.Module:
        return self.model.get_submodule(name or "features")


def grad_cam_package(
    kind: type[BaseCAM],
    model: nn.Module,
    images: Tensor,
    *,
    decision: str = "malignant",
    layer: str | None = None,
    target: Target | None = None,
) -> np.ndarray:
    scored = Scored(model, target)
    chosen = scored.layer(layer)
    targets = [BinaryClassifierOutputTarget(CATEGORY[decision])] * len(images)
    with kind(scored, [chosen]) as cam:
        scores = cam.activations_and_grads(images)
        if cam.uses_gradients:
            sum(target(score) for target, score in zip(targets, scores, strict=True)).backward()
        activations = cam.activations_and_grads.activations[0].numpy()
        gradients = cam.activations_and_grads.gradients[0].numpy() if cam.uses_gradients else None
        return cam.get_cam_image(images, chosen, targets, activations, gradients, False)


def captum_grad_cam(
    model: nn.Module, images: Tensor, *, decision: str, layer: str | None = None, target: Target | None = None
) -> np.ndarray:
    scored = Scored(model, target)
    sign = 1 if decision == "malignant" else -1
    tool = LayerGradCam(lambda x: sign * scored(x), scored.layer(layer))
    return tool.attribute(images)[:, 0].detach().numpy()
