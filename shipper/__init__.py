"""shipper: every rotated log of an EC2 instance in S3, whole, exactly once.

The map. A package imports only packages that stand above it in this list:

- ``core``      values and decisions; pure: no I/O, clock, randomness, threads or third parties
- ``ports``     what shipper needs from the world, as Protocols; ``PortError``
- ``journal``   durable shipments in SQLite; it is also the queue
- ``edges``     the world outside the process: files, S3, the metadata service; decides nothing
- ``services``  carry out the decisions of ``core`` through ``ports``: finding, sending, sources
- ``config``    the configuration: the classes whose fields are its keys, and how it is read
- ``runtime``   what the process is made of: wiring, loops, logs, the state directory
- ``reports``   what shipper says of itself: status, metrics, checks, explanations
- ``archive``   the read side: what a bucket holds, found, proven and given back
- ``iam``       IAM documents that fit a configuration
- ``mock``      the mocked metadata service
- ``daemon``    the daemon: its main thread with the signals, its workers; the same work done once
- ``demo``      the demo
- ``cli``       one module per command

To understand it, read ``docs/how-it-works.md``. Then follow a file through the code:
``services/finding/discovery`` and ``candidates``, ``core/lifecycle``, ``journal/queue``,
``services/sending/carrier`` and ``sender``, ``daemon/workers``.
"""

__version__ = "0.1.0"
