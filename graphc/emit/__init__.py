"""The code that we write for LLVM ourselves: products, elementary functions, random numbers.

The modules that generated text imports from here load when they are used: what they need of
the compiler is not imported where all kernels come from the cache.
"""

from graphc.lazy import lazy_module

random = lazy_module("graphc.emit.random")
rows = lazy_module("graphc.emit.rows")
stream = lazy_module("graphc.emit.stream")
vmath = lazy_module("graphc.emit.vmath")
