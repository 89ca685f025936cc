"""Hardening, in a process of its own: it cannot be taken back."""

import subprocess
import sys

HARDENED = """
import ctypes, resource
from cryptdrive.local.process import harden
PR_GET_DUMPABLE = 3
prctl = ctypes.CDLL(None).prctl
assert prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1
harden()
assert prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
harden()
"""

TUNED = """
import gc
from cryptdrive.local.process import tune
tune()
assert gc.isenabled()
assert gc.get_threshold() == (100_000, 20, 100)
"""


HOLES = """
import gc, os
from cryptdrive.local.process import give_memory_back, tune
tune()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
kept = [bytearray(200_000) for _ in range(1000)]
for piece in kept:
    piece[:] = b"x" * len(piece)
holes = kept[::2]
kept = kept[1::2]
del piece, holes
gc.collect()
before = resident()
give_memory_back()
assert resident() < before - (60 << 20), (before, resident())
assert all(piece[-1] == ord("x") for piece in kept)
"""


def test_memory_that_is_free_between_what_is_used_is_given_back() -> None:
    subprocess.run([sys.executable, "-c", HOLES], check=True)


def test_neither_core_files_nor_other_programs_see_the_memory() -> None:
    subprocess.run([sys.executable, "-c", HARDENED], check=True)


def test_cyclic_garbage_is_looked_for_less_often() -> None:
    subprocess.run([sys.executable, "-c", TUNED], check=True)


def test_the_program_hardens_itself_before_it_reads_anything() -> None:
    script = """
import ctypes, sys
from cryptdrive.cli import main
main.run = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
main.main()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
