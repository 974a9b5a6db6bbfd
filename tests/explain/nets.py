"""Small networks to explain, and all that a careless tool leaves behind in one."""

from typing import Any

import torch
from torch import Tensor, nn

from lentigo.config import ModelConfig
from lentigo.imaging import Preprocessing
from lentigo.models.contract import LesionClassifier
from lentigo.models.registry import create_model


def random_images(count: int, size_px: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))


def untrained(name: str, size_px: int, **options: float) -> LesionClassifier:
    settings = Preprocessing(resize_px=size_px, crop_px=None)
    return create_model(ModelConfig(name=name, options=options), settings, seed=3)


def tiny_vgg() -> LesionClassifier:
    return untrained("tiny_vgg", 24, width=4)


def bent_net() -> LesionClassifier:
    """Batch norm and dropout, and a head whose gradient depends on the image; for images of 8 px."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        head = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, 1))
        return LesionClassifier(features, head)


def hand_net() -> LesionClassifier:
    """For images of 2 px; logit = relu(weights of A1 and A2, 1 2 3 2 and four times -1) + 1/4."""
    features = nn.Conv2d(3, 2, kernel_size=1, bias=False)  # A1 = red, A2 = blue
    head = nn.Sequential(nn.Flatten(), nn.Linear(8, 1, bias=False), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        features.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1]]).reshape(2, 3, 1, 1))
        head[1].weight.copy_(torch.tensor([[1.0, 2, 3, 2, -1, -1, -1, -1]]))
        head[3].weight.fill_(1)
        head[3].bias.fill_(0.25)
    return LesionClassifier(features, head)


def hand_images() -> Tensor:
    """Weighted sums of 3, -3 and 1: the ReLU of `hand_net` is open, dead and open."""
    images = torch.zeros(3, 3, 2, 2)
    images[0, 0], images[0, 2] = torch.tensor([[1.0, 0], [2, 0]]), torch.tensor([[0.0, 3], [1, 0]])
    images[1, 2] = torch.tensor([[0.0, 3], [0, 0]])
    images[2, 0] = torch.tensor([[1.0, 0], [0, 0]])
    return images


class TwoClasses(nn.Module):
    """A network of someone else's: no halves, a skip connection, layers in place, one output a class; any image."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(6)
            self.stem = nn.Conv2d(3, 4, 3, padding=1)
            self.bend = nn.ReLU(inplace=True)
            self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
            self.classify = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.bend(self.stem(images))
        return self.classify(self.bend(self.block(maps) + maps).mean(dim=(2, 3)))


def malignant_less_benign(outputs: Tensor) -> Tensor:
    return outputs[:, 1] - outputs[:, 0]


def dead_net() -> LesionClassifier:
    """A head whose ReLU lets nothing through, for images of 8 px: no cell changes the logit of 0.5."""
    net = bent_net()
    net.head[3] = nn.ReLU()
    with torch.no_grad():
        net.head[1].weight.zero_()
        net.head[1].bias.fill_(-1)
        net.head[4].bias.fill_(0.5)
    return net


def used_net() -> LesionClassifier:
    """In the middle of a training: mixed modes, a frozen layer, gradients on some parameters, a hook of the user's."""
    model = bent_net().train()
    model.features[1].eval()
    model.features[0].weight.requires_grad_(False)
    model.head[1].weight.grad = torch.ones_like(model.head[1].weight)
    model.head[0].register_forward_hook(lambda *_: None)
    return model


def state_of(model: nn.Module) -> list[Any]:
    """All that a careless tool leaves behind; torch counts in _version every write to a tensor."""
    modules = [
        (module.training, {key: dict(value) for key, value in vars(module).items() if key.endswith("_hooks")})
        for module in model.modules()
    ]
    tensors = [*model.parameters(), *model.buffers()]
    gradients = [tensor.grad for tensor in tensors]
    return [
        modules,
        [(id(tensor), tensor._version, tensor.requires_grad, tensor._backward_hooks) for tensor in tensors],
        [None if gradient is None else (id(gradient), gradient._version) for gradient in gradients],
        torch.random.get_rng_state().tolist(),
    ]
