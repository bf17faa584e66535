"""shipper with a lower floor for the pause between two segments of a live log.

A test of the real daemon cannot wait for 30 s. The command that follows is ``python -m shipper``.
"""

import sys

from shipper.core import live_segments

live_segments.LEAST_PAUSE_SECONDS = 0.2

from shipper.cli.main import main  # noqa: E402  (the floor comes first)

if __name__ == "__main__":
    sys.exit(main(sys.argv[4:]))
