"""shipper with lower floors: for the pause between two segments of a live log, and between two
manifests.

A test of the real daemon cannot wait for 30 s. The command that follows is ``python -m shipper``.
"""

import sys

from shipper.core import live_segments, manifests

live_segments.LEAST_PAUSE_SECONDS = 0.2
manifests.LEAST_INTERVAL_SECONDS = 0.2

from shipper.cli.main import main  # noqa: E402  (the floors come first)

if __name__ == "__main__":
    sys.exit(main(sys.argv[4:]))
