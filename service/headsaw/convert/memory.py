"""How memory is asked for in a conversion: from one pool, which keeps what it gets back until the end."""

import ctypes
from functools import lru_cache

import pyarrow as pa

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


@lru_cache(maxsize=1)
def keep_memory() -> None:
    """Buffers of Arrow and of the native parser come from malloc, which doesn't give each back to the system at once.

    Fresh pages cost a fourth of a fast conversion's CPU otherwise. Other C libraries than glibc go on as they do.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 32 * 1024**2)
        mallopt(_TRIM_THRESHOLD, 256 * 1024**2)
        mallopt(_TOP_PAD, 16 * 1024**2)


def release_memory() -> None:
    """What nobody uses is the system's again: a worker is long-lived, and batches differ in size."""
    pa.default_memory_pool().release_unused()
