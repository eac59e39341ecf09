"""Running programs: machine code, its cache, memory and threads.

The modules that generated text imports from here load when they are used: what they need of
the compiler is not imported where all kernels come from the cache.
"""

from graphc.lazy import lazy_module

native = lazy_module("graphc.runtime.native")
random = lazy_module("graphc.runtime.random")
rows = lazy_module("graphc.runtime.rows")
stream = lazy_module("graphc.runtime.stream")
vmath = lazy_module("graphc.runtime.vmath")
