"""The compiled part, and the only place that knows whether it is built."""
