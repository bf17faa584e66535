"""The process: configuration, logs, wiring, HTTP and the daemon's threads and signals."""
