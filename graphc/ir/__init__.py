"""The intermediate representation: tensors as nodes, ops, graphs, and their interpreter."""
