"""Starts a worker: python -c <this text> <libceiling_worker.so> <command descriptor> <event descriptor>."""

import importlib.machinery
import importlib.util
import os
import sys


def load(library):
    loader = importlib.machinery.ExtensionFileLoader("ceiling_worker", library)
    spec = importlib.util.spec_from_file_location("ceiling_worker", library, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


# `-c` puts the working directory first on the path: a folder `vllm` there must not stand in for the installed one.
sys.path[:] = [entry for entry in sys.path if entry]
status = load(sys.argv[1]).main(int(sys.argv[2]), int(sys.argv[3]))
sys.stdout.flush()
sys.stderr.flush()
# Not sys.exit: interpreter shutdown waits for threads of the engine's client, which may never end.
os._exit(status)
