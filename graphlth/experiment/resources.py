"""Where a run is computed: the device, and how many threads, processes and seeds at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from graphlth.settings.checks import check_device, check_setting
from graphlth.settings.types import Number, Threads
from graphlth.settings.validation import check_fields


@dataclass(frozen=True)
class Resources:
    """Where a run is computed; `graphlth.run` takes one, or its fields as keywords.

    Args:
        device: where to compute.
        threads: threads per process.
        jobs: processes, one seed or batch each at a time.
        batch: seeds trained at once as one batched model; for a GPU.
        graphs: replay epochs as CUDA graphs; for small data on a GPU.

    Raises:
        ValueError: a number is out of its range, or the device cannot be used.
    """

    device: str = "cpu"
    threads: Threads = 1
    jobs: Threads = 1
    batch: Number = 1
    graphs: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        check_device(self.device)

    @property
    def batched(self) -> bool:
        """Whether seeds are trained as one batched model."""
        return self.batch > 1 or self.graphs

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Resources":
        """The resources in the keywords `given`: `resources` itself, or its fields.

        Raises:
            ValueError: both are given, there is no such field, or a value is wrong.
        """
        for name in given:
            check_setting(name, ResourceFields.__annotations__, "of a run")
        if given.get("resources") is None:
            return cls(**{n: v for n, v in given.items() if n != "resources"})
        if others := [name for name in given if name != "resources"]:
            raise ValueError(f"`resources` and `{others[0]}` must not both be given: put "
                             f"`{others[0]}` into the resources")  # fmt: skip
        resources: Resources = given["resources"]
        if not isinstance(resources, cls):
            raise ValueError(f"`resources` must be Resources, got {type(resources).__name__}")
        return resources


class ResourceFields(TypedDict, total=False):
    """The fields of `Resources` as keywords, or `resources` in place of them."""

    resources: Resources
    device: str
    threads: Threads
    jobs: Threads
    batch: Number
    graphs: bool
