"""How a process that holds a vault's keys differs from others."""

import ctypes
import gc
import resource

_PR_SET_DUMPABLE = 4
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def harden() -> None:
    """Keep other programs of this user from reading this process's memory, and memory out of core files.

    PR_SET_DUMPABLE 0 refuses ptrace(2) and /proc/PID/mem to everybody but root (prctl(2)); it holds
    until the next execve(2), so that programs which are run from here are as usual. Where the kernel
    does not do it we go on: this is a second line of defence.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # The hard limit too: nothing that runs in this process can raise it again.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def tune() -> None:
    """Look for cyclic garbage less often, and give memory back that is free.

    A drive's caches are large, live long, and hold next to no cyclic garbage.

    With the interpreter's own thresholds a quarter of a busy drive's time goes into looking.
    """
    gc.set_threshold(100_000, 20, 100)
    # glibc learns from freed buffers of 16 MiB to put the next ones, and all smaller ones, side by
    # side with what lives long, and each thread gets a heap of its own: memory that is free then
    # cannot be given back (mallopt(3)). Other C libraries have no such call, and no such habit.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 20)
        mallopt(_M_TRIM_THRESHOLD, 4 << 20)
        mallopt(_M_ARENA_MAX, 2)


def give_memory_back() -> None:
    """Give pages back that are free in the midst of what is used (malloc_trim(3)).

    After an hour of a mixed load 160 MB of 258 in the C library's heaps were such holes. Other C
    libraries have no such call.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
