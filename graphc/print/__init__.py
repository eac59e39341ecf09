"""Printers: kernels as Python for the reader, and as LLVM for the machine. They decide nothing."""
