#!/usr/bin/env python3
"""Stands in for the Python of a vLLM environment: speaks the worker's protocol, drives nothing.

It is started as `fake_worker.py -c <bootstrap> <library> <command fd> <event fd>` and behaves as the file FAKE says. The k-th
request of a burst gets its first token after k x 30.1 ms of pretended time, and no real time passes, but for `slow 2`, where
a probe takes 2 s. Each start is noted
in the file FAKE_STARTS with the pid of this process and of a child that would outlive it, each end in good order in one beside it.
Where it `takes-time`, that child stands for the engine: it follows its worker, as the real one does, a probe takes some
milliseconds, and none is measured without it.
Where it is `starved N`, each of its first N probes is stopped for a while by somebody else, as if other processes took all of the
CPU; every probe then looks at the clock in short turns, and says by how much it was late.
Where it `dies at N`, is `silent at N` or `refuses N`, it does so in each probe of N input tokens; where it `dies in each`, once in the
third probe of each number of input tokens. Where it is `newer`, or `newest`, its engine is of another version. Where it `dies twice`, its second death is a silent one.
Where it `dies, and loads from N`, the first one dies in its third probe, and those between it and the N-th do not load; where it
`dies, and loads in turns`, each dies in its first probe and every other one does not load.
Where `one-fails`, the engine with `max_num_seqs = 1` does not load, and others take for ever to.
Where FAKE_GPUS is set, the stand-in for the GPUs' driver says what that file has from the load of an engine on. The devices of its
engine are those that FAKE_DEVICES names.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time

COMMANDS = os.fdopen(int(sys.argv[-2]), "r")
EVENTS = os.fdopen(int(sys.argv[-1]), "w")
with open(os.environ["FAKE"]) as file:
    BEHAVIOUR = file.read().strip()
RESOLVED = {
    "version": "0.0-fake",
    "packages": {},
    "devices": os.environ.get("FAKE_DEVICES", "").split(),
    "kv_cache_tokens": 1000,
    "max_num_seqs": None,
    "max_num_batched_tokens": None,
    "block_size": None,
    "max_model_len": None,
    "dtype": None,
    "model_commit": None,
    "load_seconds": 0.0,
}
if BEHAVIOUR.startswith("newe"):
    RESOLVED["version"] = "0.2-fake" if BEHAVIOUR == "newest" else "0.1-fake"
if BEHAVIOUR == "never the same":
    RESOLVED["version"] = f"0.{os.getpid()}-fake"
STEP_S = 0.0301
PROBE_S = 0.01
TURN_S = 0.01
STARVED_S = 1
PR_SET_PDEATHSIG = 1


def say(event, **fields):
    EVENTS.write(json.dumps({"event": event, **fields}) + "\n")
    EVENTS.flush()


def die_with(parent):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have ended before it was asked for.
    if os.getppid() != parent:
        os._exit(1)


def note_start():
    if BEHAVIOUR == "takes-time":
        die_with(os.getppid())
    own = os.getpid()
    # On a cluster it follows its parent, as vLLM's engine does: there the executor may be killed with all its means.
    follow = ["setpriv", "--pdeathsig", "KILL"] if "SLURM_JOB_ID" in os.environ else []
    before = (lambda: die_with(own)) if BEHAVIOUR == "takes-time" else None
    child = subprocess.Popen([*follow, "sleep", "600"], preexec_fn=before)
    with open(os.environ["FAKE_STARTS"], "a") as file:
        file.write(json.dumps({
            "pid": os.getpid(),
            "child": child.pid,
            "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "node": os.environ.get("SLURMD_NODENAME"),
            "at": time.time(),
        }) + "\n")
    return child


def is_gone(engine):
    try:
        engine.wait(PROBE_S)
        return True
    except subprocess.TimeoutExpired:
        return False


def starts():
    with open(os.environ["FAKE_STARTS"]) as file:
        return len(file.readlines())


def die(*last_words):
    print(*last_words, file=sys.stderr, flush=True)
    os._exit(7)


def hub_is_down():
    match BEHAVIOUR.split():
        case ["dies,", "and", "loads", "from", start]:
            return 1 < starts() < int(start)
        case ["dies,", "and", "loads", "in", "turns"]:
            return starts() % 2 == 0
    return False


def misbehave(input_tokens, probes):
    """What it does instead of a probe, if anything; whether it was refused."""
    match BEHAVIOUR.split():
        case ["dies", "at", tokens] if input_tokens == int(tokens):
            die(f"RuntimeError: {tokens} are too many for the cat")
        case ["newer,", "dies", "at", *tokens] if str(input_tokens) in tokens:
            die(f"RuntimeError: {input_tokens} are too many for the cat")
        case ["dies,", "and", "loads", "from", _] if starts() == 1 and len(probes) == 3:
            die("RuntimeError: the cat sat on the cable")
        case ["dies,", "and", "loads", "in", "turns"]:
            die("RuntimeError: the cat sat on the cable")
        case ["newer", "dies"] | ["never", "the", "same"]:
            die("RuntimeError: new cables, old cat")
        case ["dies", "in", "each"] if probes.count(input_tokens) == 3:
            mark = f"{os.environ['FAKE_STARTS']}.{input_tokens}"
            if not os.path.exists(mark):
                open(mark, "w").close()
                die("RuntimeError: the cat sat on the cable")
        case ["dies", "twice"] if len(probes) == 3:
            if starts() > 1:
                os.kill(os.getpid(), signal.SIGKILL)
            die("RuntimeError: the cat sat on the cable")
        case ["silent", "at", tokens] | ["newer,", "silent", "at", tokens] if input_tokens == int(tokens):
            time.sleep(600)
        case ["refuses", tokens] if input_tokens == int(tokens):
            say("probe-refused", kind="arguments", message=f"{tokens} are more than max_model_len")
            return True
    return False


def take_gpu_memory():
    if "FAKE_GPUS" in os.environ:
        new = shutil.copy(os.environ["FAKE_GPUS"], f"{os.environ['NVML_STAND_IN']}.{os.getpid()}")
        os.rename(new, os.environ["NVML_STAND_IN"])


def request(index, patience_s, hold_s):
    first_s = (index + 1) * STEP_S
    came = first_s < patience_s
    return {
        "index": index,
        "judged": True,
        "planned_s": 0,
        "submitted_s": 0,
        "first_s": first_s if came else None,
        "last_s": first_s + hold_s if came else None,
        "tokens": 8 if came else 0,
        "itl_max_s": hold_s / 8 if came else None,
        "ended_s": first_s + hold_s if came else patience_s,
        "end": {"end": "held" if came else "stopped"},
        "prompt_tokens": 512,
        "cached_tokens": 0,
        "queued_s": 0,
        "preemptions": 0,
    }


def turns(is_starved):
    """Takes turns, as long as it is being starved and one more; gives the longest delay of one."""
    late_s, now = 0.0, time.monotonic()
    # After the clock was read: it may be stopped before this call returns.
    others = starve() if is_starved else None
    goes_on = True
    while goes_on:
        goes_on = others is not None and others.poll() is None
        planned = now + TURN_S
        time.sleep(max(0.0, planned - time.monotonic()))
        now = time.monotonic()
        late_s = max(late_s, now - planned)
    return late_s


def starve():
    stop = 'kill -STOP "$0"; sleep "$1"; kill -CONT "$0"'
    return subprocess.Popen(["sh", "-c", stop, str(os.getpid()), str(STARVED_S)])


def probe(ask, lag_s):
    load = ask["load"]
    count, patience_s, hold_s = load["concurrency"], load["patience"], load["hold"]["for"]
    requests = [request(index, patience_s, hold_s) for index in range(count)]
    say("alive")
    for one in requests:
        if one["first_s"] is not None:
            say("first", index=one["index"], ttft_s=one["first_s"])
        say("ended", **one)
    seconds = max(one["ended_s"] for one in requests)
    say(
        "measured",
        requests=requests,
        seconds=seconds,
        output_tokens=sum(one["tokens"] for one in requests),
        output_seconds=seconds,
        scheduler={"running_peak": count, "waiting_peak": 0, "kv_peak": 0.5, "steps": 100, "preemptions": 0},
        harness={"cpu_us_per_token": 1.0, "submit_delay_s": 0.0, "lag_s": lag_s},
    )


def main():
    engine = note_start()
    print("this goes to the log", flush=True)
    protocol = 99 if BEHAVIOUR == "wrong-version" else int(os.environ.get("FAKE_PROTOCOL", "5"))
    say("hello", protocol=protocol, worker=os.environ["FAKE_VERSION"], python="0.0.0")
    probes = []
    for line in COMMANDS:
        command = json.loads(line)
        if command["command"] == "load":
            take_gpu_memory()
        match command["command"]:
            case "load" if BEHAVIOUR == "load-fails":
                complaint = os.environ.get("FAKE_COMPLAINT", "the weights are upside down")
                print(f"ValueError: {complaint}", file=sys.stderr, flush=True)
                say("load-failed", kind="engine", message="Engine core initialization failed.")
                return
            case "load" if hub_is_down():
                say("load-failed", kind="engine", message="the hub said 502")
                return
            case "load" if BEHAVIOUR == "one-fails" and command["args"].get("max_num_seqs") == 1:
                say("load-failed", kind="engine", message="the hub said 502")
                return
            case "load" if BEHAVIOUR in ("load-hangs", "one-fails"):
                time.sleep(600)
            case "load" if BEHAVIOUR == "bad-argument":
                say("load-failed", kind="arguments", message="max_num_sqs is not an engine argument")
                return
            case "check" if BEHAVIOUR == "bad-argument":
                say("load-failed", kind="arguments", message="max_num_sqs is not an engine argument")
            case "check":
                say("checked", **RESOLVED)
            case "load":
                say("loaded", **RESOLVED)
            case "probe":
                probes.append(command["prompts"]["input_tokens"])
                is_third = len(probes) == 3
                if BEHAVIOUR == "dies" and is_third or BEHAVIOUR == "dies-once" and starts() == 1 and is_third:
                    die("RuntimeError: the cat sat on the cable")
                if misbehave(probes[-1], probes):
                    continue
                if BEHAVIOUR == "falls-silent" and is_third:
                    print("silent now", flush=True)
                    time.sleep(600)
                if BEHAVIOUR == "babbles" and is_third:
                    EVENTS.write("{nonsense\n")
                    EVENTS.flush()
                    time.sleep(600)
                if BEHAVIOUR == "takes-time" and is_gone(engine):
                    say("probe-failed", kind="engine", message="the engine process has ended")
                    return
                if BEHAVIOUR.startswith("slow"):
                    time.sleep(float(BEHAVIOUR.removeprefix("slow")))
                lag_s = 0.0
                if BEHAVIOUR.startswith("starved"):
                    lag_s = turns(is_starved=len(probes) <= int(BEHAVIOUR.removeprefix("starved")))
                probe(command, lag_s)
            case "shutdown":
                with open(os.environ["FAKE_STARTS"] + ".ends", "a") as file:
                    file.write(json.dumps({"pid": os.getpid(), "at": time.time()}) + "\n")
                return


if __name__ == "__main__":
    main()
