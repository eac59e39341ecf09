"""The functions that kernels call, in C: those of its mathematical library, and what it lacks.

In what follows ``T`` is the type of the operands, ``U`` the integer of its size without a sign;
``name$`` is a function of this file for that type (``relu_f32``), ``name~`` one of the library's
(``expf``). A chunk is one function; it may call those before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from graphc.kernel.value import DType
from graphc.types import FLOAT32

TYPES: Mapping[str, str] = {
    "bool": "bool", "uint8": "uint8_t", "int32": "int32_t", "int64": "int64_t",
    "float32": "float", "float64": "double",
}  # fmt: skip

LIBRARY: Mapping[str, str] = {
    **{name: name for name in (
        "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "copysign", "cos",
        "cosh", "erf", "erfc", "exp", "exp2", "expm1", "floor", "hypot", "log", "log10", "log1p",
        "log2", "nextafter", "pow", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
    )},
    "abs": "fabs",
    "round": "rint",
}  # fmt: skip
"""Functions of real numbers that math.h has, most of them right to a unit in the last place."""

_REAL = """
static inline bool isfinite$(T x) { return isfinite(x); }

static inline bool isinf$(T x) { return isinf(x); }

static inline bool isnan$(T x) { return isnan(x); }

static inline bool signbit$(T x) { return signbit(x); }

// The larger; NaN if either is.
static inline T maximum$(T x, T y) { return x >= y || isnan(x) ? x : y; }

// The smaller; NaN if either is.
static inline T minimum$(T x, T y) { return x <= y || isnan(x) ? x : y; }

static inline T sign$(T x) { return isnan(x) ? x : (T)((x > 0) - (x < 0)); }

// x mod y, with the sign of y.
static inline T remainder$(T x, T y)
{
    const T rest = fmod~(x, y);
    return rest == 0 ? copysign~(0, y) : (rest < 0) != (y < 0) ? rest + y : rest;
}

// floor(x / y), exactly where the quotient of rounded numbers is not.
static inline T floor_divide$(T x, T y)
{
    const T rest = fmod~(x, y), ratio = x / y;
    T quotient = (x - rest) / y;
    if (rest != 0 && (rest < 0) != (y < 0))
        quotient -= 1;
    if (y == 0 || quotient == 0)
        return y == 0 ? ratio : copysign~(0, ratio);
    const T whole = floor~(quotient);
    return quotient - whole > (T)0.5 ? whole + 1 : whole;
}

static inline T rsqrt$(T x) { return 1 / sqrt~(x); }

static inline T relu$(T x) { return x <= 0 ? 0 : x; }

static inline T sigmoid$(T x)
{
    const T e = exp~(-fabs~(x));
    return (x < 0 ? e : 1) / (1 + e);
}

// x sigmoid(x); 0 at minus infinity.
static inline T silu$(T x) { return x == -INFINITY ? 0 : (T)gated(x, x); }

// log(1 + e^x)
static inline T softplus$(T x) { return relu$(x) + log1p~(exp~(-fabs~(x))); }

// log(sigmoid(x))
static inline T log_sigmoid$(T x) { return -softplus$(-x); }

// log(e^x + e^y)
static inline T logaddexp$(T x, T y)
{
    const T rest = x == y ? log~(2) : log1p~(exp~(-fabs~(x - y)));
    return (x > y ? x : y) + rest;
}

// x tanh(softplus(x)); 0 at minus infinity.
static inline T mish$(T x) { return x == -INFINITY ? 0 : x * tanh~(softplus$(x)); }

// x times the normal distribution function at x; 0 at minus infinity.
static inline T gelu$(T x)
{
    const double a = -x * 0.70710678118654757; // x / sqrt(2), and what its rounding leaves
    const double rest = fma(-x, 0.70710678118654757, -a) + x * 4.8336466567264567e-17;
    double tail = erfc(a);
    if (a > 0 && a < 28)
        tail -= 1.1283791670955126 * exp(-a * a) * rest;
    return x == -INFINITY ? 0 : (T)(0.5 * x * tail);
}

// x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)); 0 at minus infinity.
static inline T gelu_tanh$(T x)
{
    const double gate = 1.5957691216057308 * (x + 0.044715 * x * x * x);
    return x == -INFINITY ? 0 : (T)gated(x, gate);
}
"""

_INTEGER = """
static inline T maximum$(T x, T y) { return x > y ? x : y; }

static inline T minimum$(T x, T y) { return x < y ? x : y; }

static inline T abs$(T x) { return x < 0 ? -x : x; }

static inline T sign$(T x) { return (x > 0) - (x < 0); }

static inline T relu$(T x) { return x < 0 ? 0 : x; }

static inline T floor$(T x) { return x; }

static inline T ceil$(T x) { return x; }

static inline T trunc$(T x) { return x; }

static inline T round$(T x) { return x; }

// x mod y, with the sign of y; 0 where y is 0.
static inline T remainder$(T x, T y)
{
    if (y == 0 || y == -1)
        return 0;
    const T rest = x % y;
    return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}

// floor(x / y); 0 where y is 0.
static inline T floor_divide$(T x, T y)
{
    if (y == 0 || y == -1)
        return y * x;
    const T rest = x % y;
    return x / y - (rest != 0 && (rest < 0) != (y < 0));
}

// x 2^y; 0 where y is no place in x.
static inline T left_shift$(T x, T y)
{
    const T width = 8 * sizeof(T);
    return y < 0 || y >= width ? 0 : (T)((U)x << y);
}

// floor(x / 2^y)
static inline T right_shift$(T x, T y)
{
    const T last = 8 * sizeof(T) - 1;
    return x >> (y < 0 || y > last ? last : y);
}

// x^y, wrapping around; for y < 0, 1 / x^-y rounded towards 0.
static inline T pow$(T x, T y)
{
    if (y < 0)
        return x == 1 || x == -1 ? (y % 2 == 0 ? 1 : x) : 0;
    T result = 1;
    for (; y > 0; y >>= 1, x *= x)
        if (y & 1)
            result *= x;
    return result;
}
"""

_ANY = """
// Fills a block with rows, transposed: the first elements of all of them, then the second ones.
// Lanes of rows that there are not hold the last there is.
static inline void rows_load$(
    T *restrict block, const T *restrict rows, int64_t start, int64_t stride, int64_t count,
    int64_t length)
{
    const int64_t lanes = 64 / sizeof(T);
    for (int64_t i = 0; i < length; i++)
        for (int64_t r = 0; r < lanes; r++)
            block[i * lanes + r] = rows[start + (r < count ? r : count - 1) * stride + i];
}

// Writes the first rows of a block.
static inline void rows_store$(
    T *restrict rows, int64_t start, int64_t stride, const T *restrict block, int64_t count,
    int64_t length)
{
    const int64_t lanes = 64 / sizeof(T);
    for (int64_t r = 0; r < count; r++)
        for (int64_t i = 0; i < length; i++)
            rows[start + r * stride + i] = block[i * lanes + r];
}

// C[i, j] = sum_k A[i, k] B[k, j], added to what is there if add is not 0.
static inline void blocks_multiply$(
    T *c, int64_t c_at, int64_t c_i, const T *a, int64_t a_at, int64_t a_i, int64_t a_k,
    const T *b, int64_t b_at, int64_t b_k, int64_t rows, int64_t width, int64_t k, int64_t add)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++) {
            T total = add ? c[c_at + i * c_i + j] : 0;
            for (int64_t t = 0; t < k; t++)
                total += a[a_at + i * a_i + t * a_k] * b[b_at + t * b_k + j];
            c[c_at + i * c_i + j] = total;
        }
}

// block[i * lanes + r] = rows[start + r * stride + i], for r < count and i < length.
static inline void blocks_transpose$(
    T *restrict block, int64_t lanes, const T *restrict rows, int64_t start, int64_t stride,
    int64_t count, int64_t length)
{
    for (int64_t i = 0; i < length; i++)
        for (int64_t r = 0; r < count; r++)
            block[i * lanes + r] = rows[start + r * stride + i];
}

// Sets target[start : start + count] to values.
static inline void stream_write$(
    T *restrict target, int64_t start, const T *restrict values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        target[start + i] = values[i];
}
"""

_UNTYPED = """
static inline int64_t min(int64_t x, int64_t y) { return x < y ? x : y; }

static inline int64_t max(int64_t x, int64_t y) { return x > y ? x : y; }

// Lets all that was written be seen before what is written from now on.
static inline void stream_fence(void) { atomic_thread_fence(memory_order_seq_cst); }

// x sigmoid(gate), also where e^gate is no normal number.
static inline double gated(double x, double gate)
{
    const double root = exp(-fabs(gate) / 2), e = root * root;
    return gate < 0 ? x * root / (1 + e) * root : x / (1 + e);
}

struct words { uint32_t x, y; };

// The words to which a key takes a counter (Threefry-2x32 of 20 rounds).
static inline struct words threefry(struct words key, struct words at)
{
    static const int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
    const uint32_t keys[3] = {key.x, key.y, key.x ^ key.y ^ 0x1BD11BDA};
    uint32_t x = at.x + key.x, y = at.y + key.y;
    for (int group = 0; group < 5; group++) {
        for (int i = 0; i < 4; i++) {
            const int by = rotations[group % 2][i];
            x += y;
            y = (y << by | y >> (32 - by)) ^ x;
        }
        x += keys[(group + 1) % 3];
        y += keys[(group + 2) % 3] + group + 1;
    }
    return (struct words){x, y};
}

static inline struct words random_bits(uint64_t seed, uint64_t stream, uint64_t step, uint64_t i)
{
    const struct words key = {seed, seed >> 32}, draw = {stream, step}, at = {i, i >> 32};
    return threefry(threefry(key, draw), at);
}

// A number in [0, 1): the upper 24 bits of the first word.
static inline float random_uniform32(int64_t seed, int64_t stream, int64_t step, int64_t i)
{
    return (random_bits(seed, stream, step, i).x >> 8) * 0x1p-24f;
}

// A number in [0, 1): 53 bits of both words.
static inline double random_uniform64(int64_t seed, int64_t stream, int64_t step, int64_t i)
{
    const struct words bits = random_bits(seed, stream, step, i);
    return ((uint64_t)bits.x << 21 | bits.y >> 11) * 0x1p-53;
}
"""


def _chunks(text: str) -> dict[str, str]:
    """Return the parts of a text by the name of what each defines."""
    named = r"^(?:static inline (?:struct )?\w+|struct) (\w+)"
    parts = text.strip().split("\n\n")
    return {re.findall(named, part, re.MULTILINE)[0]: part for part in parts}


_UNTYPED_CHUNKS, _ANY_CHUNKS = _chunks(_UNTYPED), _chunks(_ANY)
_TYPED_CHUNKS = {"f": _chunks(_REAL) | _ANY_CHUNKS, "i": _chunks(_INTEGER) | _ANY_CHUNKS}

Function: TypeAlias = "tuple[str, DType | None]"
"""A name and, if there is one for each, a type."""


def typed(name: str, dtype: DType) -> Function:
    """Return the function of this file that is meant by a name and the type of its operands.

    Raises :class:`KeyError` if there is none.
    """
    if name in _UNTYPED_CHUNKS:
        return name, None
    _chunk((name, dtype))
    return name, dtype


def symbol(function: Function) -> str:
    """Return what a function is called in C."""
    name, dtype = function
    if dtype is None:
        return name
    return f"{name}_{dtype.kind}{8 * dtype.itemsize}" if dtype.kind != "b" else f"{name}_bool"


def _chunk(function: Function) -> str:
    name, dtype = function
    if dtype is None:
        return _UNTYPED_CHUNKS[name]
    return _TYPED_CHUNKS["f" if dtype.kind == "f" else "i"][name]


def definitions(functions: Iterable[Function]) -> Iterator[str]:
    """Yield the definitions of functions, each after those that it calls."""
    done: set[Function] = set()

    def define(function: Function) -> Iterator[str]:
        if function in done:
            return
        done.add(function)
        dtype, chunk = function[1], _chunk(function)
        called: list[Function] = [(n, dtype) for n in re.findall(r"(\w+)\$", chunk)]
        called += [(n, None) for n in re.findall(r"\w+", chunk) if n in _UNTYPED_CHUNKS]
        for other in called:
            yield from define(other)
        yield chunk if dtype is None else _instance(chunk, dtype)

    for function in functions:
        yield from define(function)


def _instance(chunk: str, dtype: DType) -> str:
    """Return a chunk for operands of a type."""
    chunk = re.sub(r"(\w+)\$", lambda found: symbol((found[1], dtype)), chunk)
    chunk = chunk.replace("~", "f" if dtype == FLOAT32 else "")
    kind = TYPES[dtype.name]
    return re.sub(r"\bT\b", kind, re.sub(r"\bU\b", f"u{kind}", chunk))
