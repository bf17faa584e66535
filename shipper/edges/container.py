"""Whether this process is in a container, where a network of its own may lie in between."""

import os
from collections.abc import Mapping

_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
_VARIABLES = ("container", "KUBERNETES_SERVICE_HOST", "ECS_CONTAINER_METADATA_URI_V4")


def is_in_container(environment: Mapping[str, str] = os.environ, root: str = "/") -> bool:
    """What container engines leave behind: a file, a variable, or a root that is an overlay."""
    marks = (root.rstrip("/") + mark for mark in _MARKS)
    if any(map(os.path.exists, marks)) or any(map(environment.get, _VARIABLES)):
        return True
    try:
        with open(f"{root.rstrip('/')}/proc/self/mountinfo", "rb") as lines:
            mounts = [line.split() for line in lines]
    except OSError:
        return False
    # https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    return any(mount[4] == b"/" and mount[mount.index(b"-") + 1] == b"overlay" for mount in mounts)
