"""Lightning Fabric as a training needs it: the device, the precision, and the processes that were started together."""

import inspect
import logging
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from lentigo.config import Experiment
from lentigo.errors import ConfigError
from lentigo.learn.arithmetic import fabric_precision
from lentigo.learn.processes import check_processes, launched, place

# Processes with fewer pieces of a batch would miss the others' exchange at every piece; see `shards.same_buffers`.
_BUFFERS = "forward_sync_buffers"
if _BUFFERS not in inspect.signature(DistributedDataParallel).parameters:  # before torch 2.14
    _BUFFERS = "broadcast_buffers"


def make_fabric(device: torch.device, experiment: Experiment) -> Fabric:
    """Devices, precision and this process's place among those that were started with it.

    Raises: ConfigError: the device cannot have so many processes or this precision, or nothing started the processes.
    """
    precision, here = fabric_precision(experiment.train), place()
    if not launched() and experiment.train.together:
        raise ConfigError(
            f"train.devices is {experiment.train.devices} and train.strategy {experiment.train.strategy!r}, but this "
            "is one process: several are started by `lentigo train` or by torchrun; set train.devices to 1 and "
            "train.strategy to auto"
        )
    check_processes(here.processes, experiment.train.batch_size)
    usable = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device.type, here.local_processes)
    if here.local_processes > usable:
        raise ConfigError(
            f"train.devices asks for {here.local_processes} processes on this machine, which has {usable} of the "
            f"device {device.type!r}, one for a process; lower it"
        )
    if precision == "16-mixed" and device.type == "cpu":
        raise ConfigError('train.precision is "16-mixed", which a processor cannot; use "bf16-mixed" or "32-true"')
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its hints go to stderr; only cli.py prints
    if not launched():
        return Fabric(accelerator=device.type, devices=1, precision=precision)
    options: dict[str, Any] = {_BUFFERS: False}
    return Fabric(
        accelerator=device.type, devices=here.local_processes, num_nodes=here.processes // here.local_processes,
        strategy=DDPStrategy(**options), precision=precision,
    )  # fmt: skip
