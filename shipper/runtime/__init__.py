"""What the process is made of: wiring, loops, logs, the state directory."""
