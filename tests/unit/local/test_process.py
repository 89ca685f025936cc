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
