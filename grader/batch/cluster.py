"""The Dask cluster that a batch runs on: one on this machine, or one that is there already.

A worker says with the resource ``stacks`` how many gradings it carries side by side. Each of our own carries one, so
that a submission which brings a worker down takes no other one with it.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dask
import psutil
from distributed import Client, LocalCluster

from grader.errors import MachineError

RESOURCE = "stacks"
# Gradings side by side beyond the number of cores: when one waits, there is another to go on with. Measured with
# tests/benchmarks/batch.py.
BEYOND_CORES = 1
MEMORY = 1.5 * 2**30  # bytes of a grading: the largest stack's containers, its builds, and the grader
TRIES = 2  # of a submission whose worker dies
CONNECT = 20  # seconds


def capacity() -> int:
    """How many gradings this machine carries side by side."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores + BEYOND_CORES, int(psutil.virtual_memory().available // MEMORY)))


@contextmanager
def local(workers: int) -> Iterator[Client]:
    """A cluster on this machine, which ends with the block.

    Args:
        workers: gradings side by side.
    """
    with (
        tempfile.TemporaryDirectory(prefix="compose-course-dask-") as folder,
        _settings(
            {
                "temporary-directory": folder,
                "distributed.scheduler.allowed-failures": TRIES - 1,
                "distributed.worker.preload": ["grader.batch.work"],
            }
        ),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            resources={RESOURCE: 1},
            memory_limit=0,  # what takes memory is outside of the worker
            host="127.0.0.1",
            dashboard_address="127.0.0.1:8787",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def existing(address: str) -> Iterator[Client]:
    """The cluster of the scheduler at ``address``, which goes on after the block.

    Raises:
        MachineError: no scheduler answers there.
    """
    with _settings({}):
        try:
            client = Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise MachineError(
                f"No Dask scheduler answers at {address}: {error}.",
                "Start one, or correct the address; the README's section for instructors shows how:\n"
                "    .venv/bin/python -m distributed.cli.dask_scheduler --host ADDRESS",
            ) from error
        with client:
            yield client


@contextmanager
def _settings(more: dict[str, object]) -> Iterator[None]:
    # A submission may have 20 MiB, and is sent when it is its turn.
    always = {"distributed.admin.large-graph-warning-threshold": "64MB", "distributed.comm.retry.count": 0}
    # Dask looks for what slows short tasks down, up to a hundred times a second in each of its processes: an eighth of
    # two cores. Tasks of seconds need none of that.
    watched = {
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
    }
    with dask.config.set(always | watched | more), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        yield


def slots(worker: dict[str, object]) -> int:
    """How many gradings a worker carries, ``worker`` being what the scheduler knows of it."""
    resources = worker.get("resources")
    stacks = resources.get(RESOURCE, 0) if isinstance(resources, dict) else 0
    return int(stacks)
