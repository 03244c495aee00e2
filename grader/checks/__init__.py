"""The rubrics: one module per exercise, named after its key."""
