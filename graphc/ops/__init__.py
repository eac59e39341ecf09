"""Every operation, one class in one place; importing this package fills the registry."""
