"""A fleet in one process: the daemon's own carriers, gates, limiters and credential keepers, on a
clock that leaps from event to event and a bucket that is a model. `docs/fleet.md` shows what came
out; ``python -m tests.performance.fleet --write`` makes it anew.

What runs for each instance is the real ``Carrier``, ``SmallFiles``, ``Interleaved``, ``Gate``,
``ConcurrencyLimiter``, ``RetryPolicy``, ``FailedAttempts`` and ``CredentialKeeper``. Fakes are the
clock, the bucket, the metadata service, the files (no bytes are read) and the journal (rows in
memory, advanced by ``core.lifecycle``).
"""
