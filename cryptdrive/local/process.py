"""How a process that holds a vault's keys differs from others."""

import ctypes
import gc
import resource

_PR_SET_DUMPABLE = 4


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
    """Look for cyclic garbage less often: a drive's caches are large, live long and hold next to none.

    With the interpreter's own thresholds a quarter of a busy drive's time goes into looking.
    """
    gc.set_threshold(100_000, 20, 100)
