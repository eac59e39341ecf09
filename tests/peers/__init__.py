"""PyTorch's own samples: what its maintainers test its functions and modules with."""
