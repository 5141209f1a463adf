"""No child outlives its parent.

The worker runs `install` once. From then on every process that multiprocessing starts, and every process that those
start, asks the kernel to be killed when its parent ends. The text of this file travels in an environment variable,
since a spawned interpreter imports nothing of ours.
"""

import ctypes
import multiprocessing.spawn
import os
import signal
import threading

SOURCE = "CEILING_GUARD"
PR_SET_PDEATHSIG = 1


def follow(parent):
    """Die with `parent`, whose main thread forked this process."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def forked_by():
    """The process to follow, or 0: the signal comes when the forking *thread* ends, so only a main thread will do."""
    return os.getpid() if threading.current_thread() is threading.main_thread() else 0


def guard_spawned():
    original = multiprocessing.spawn.get_command_line

    def get_command_line(**kwargs):
        line = original(**kwargs)
        program = line.index("-c") + 1
        line[program] = f"import os; exec(os.environ['{SOURCE}']); begin({forked_by()}); {line[program]}"
        return line

    multiprocessing.spawn.get_command_line = get_command_line


def guard_forked(descriptors):
    parent = 0
    inherited = descriptors

    def before():
        nonlocal parent
        parent = forked_by()

    def in_child():
        nonlocal inherited
        if parent:
            follow(parent)
        for descriptor in inherited:
            os.close(descriptor)
        # Whatever has these numbers from now on is the child's own, and its children's.
        inherited = ()

    os.register_at_fork(before=before, after_in_child=in_child)


def begin(parent):
    """First thing in a spawned process."""
    if parent:
        follow(parent)
    guard_spawned()
    guard_forked(())


def install(source, descriptors):
    """First thing in the worker; `descriptors` are for no child to inherit."""
    os.environ[SOURCE] = source
    guard_spawned()
    guard_forked(descriptors)
