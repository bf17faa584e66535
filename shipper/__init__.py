"""shipper: every rotated log of an EC2 instance in S3, whole, exactly once.

The map of the house, from the bottom up; imports only ever point down:

- ``core``      values and decisions; pure: no I/O, clock, randomness, threads or third parties
- ``ports``     what shipper needs from the world, as Protocols; ``PortError``
- ``journal``   durable shipments in SQLite; it is also the queue
- ``edges``     one module per thing outside the process; nothing is decided there
- ``services``  decisions + ports = behaviour; each loop is ``step() -> seconds to wait``
- ``app``       configuration, logs, wiring, HTTP, the daemon: its main thread with the signals in
                ``daemon``, every other thread in ``loops``, who they are in ``running``
- ``cli``       one module per command
- ``mock``      the mocked metadata service

To understand it in ten minutes read ``core/types``, ``core/lifecycle``, ``ports``,
``services/discovery``, ``journal``, ``services/carrier``, ``app/daemon``, in that order.
"""

__version__ = "0.1.0"
