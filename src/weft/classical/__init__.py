"""Classical models: no weights, no training, the same `fill` as every other model."""
