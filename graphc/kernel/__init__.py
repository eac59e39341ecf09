"""What kernels are made of: typed scalar values, and statements about them."""
