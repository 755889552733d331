"""Training: one loop, its state on disk, and a recipe for each thing that is trained."""
