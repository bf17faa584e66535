"""Botocore's models of AWS, cut down to the operations that are asked for.

Botocore keeps the model of a whole service and the endpoints of all services for as long as a
client lives: a fifth of the memory of an idle daemon. Other services, other operations, their
shapes and all documentation are left out; metadata, regions and endpoint rules stay whole.

What is kept goes through text once more, and documentation is emptied while it is read, because
Python's allocator gives an arena back only when nothing is left in it.

Only what came with botocore is read. By itself it would look into ``~/.aws/models`` first.
"""

import gzip
import json
import os
from collections.abc import Collection, Iterator
from typing import Any

from botocore.loaders import Loader

_OPENERS: dict[str, Any] = {".json": open, ".json.gz": gzip.open}


def lean_loader(service: str, operations: Collection[str]) -> Loader:
    """A session's ``data_loader`` for clients of one service that need only these operations."""
    return Loader(
        extra_search_paths=[Loader.BUILTIN_DATA_PATH],
        file_loader=_LeanFiles(service, operations),  # type: ignore[arg-type]  # no inheritance
        include_default_search_paths=False,
    )


class _LeanFiles:
    """What botocore's ``Loader`` asks of a file loader; its paths have no extension."""

    def __init__(self, service: str, operations: Collection[str]) -> None:
        self._service = service
        self._operations = operations

    def exists(self, file_path: str) -> bool:
        return any(os.path.isfile(file_path + extension) for extension in _OPENERS)

    def load_file(self, file_path: str) -> Any:
        for extension, opened in _OPENERS.items():
            if os.path.isfile(file_path + extension):
                with opened(file_path + extension, "rb") as file:
                    text = self._cut(os.path.basename(file_path), file.read())
                return json.loads(text)
        return None

    def _cut(self, name: str, text: bytes) -> str:
        found = json.loads(text, object_pairs_hook=self._read)
        is_service = name == "service-2"
        return json.dumps(only_operations(found, self._operations) if is_service else found)

    def _read(self, members: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object with empty documentation; of a partition's services, only ours."""
        found = {
            name: "" if name == "documentation" and isinstance(value, str) else value
            for name, value in members
        }
        ours = found.get(self._service)
        return {self._service: ours} if isinstance(ours, dict) and "endpoints" in ours else found


def only_operations(model: dict[str, Any], operations: Collection[str]) -> dict[str, Any]:
    """A service's model with these operations, and the shapes that they reach."""
    wanted = {name: each for name, each in model["operations"].items() if name in operations}
    reached: dict[str, Any] = {}
    found = list(_shapes_in(wanted))
    while found:
        name = found.pop()
        if name not in reached:
            reached[name] = model["shapes"][name]
            found += _shapes_in(reached[name])
    return model | {"operations": wanted, "shapes": reached}


def _shapes_in(part: Any) -> Iterator[str]:
    """Every shape that a piece of a model refers to."""
    if isinstance(part, dict):
        if isinstance(name := part.get("shape"), str):
            yield name
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _shapes_in(each)
