"""What is said to vLLM in Python: its configuration, its two clients, its errors.

Runs inside the worker; Rust calls it. Nothing of the engine-core layer comes through here per token.
"""

import asyncio
import dataclasses
import difflib
import gc
import importlib
import inspect
import json
import multiprocessing
import os
import platform
import sys
import threading
import time

# As `vllm serve` has it: a fork of this process would take its threads' locks along, and vLLM binds what it spawns only to a NUMA node.
os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")

# Every public name of vLLM that is relied on, by module. "async-llm" adds to what both layers need.
NAMES = {
    "vllm": ["__version__", "SamplingParams"],
    "vllm.engine.arg_utils": ["AsyncEngineArgs.create_engine_config"],
    "vllm.platforms": ["current_platform.get_device_name"],
    "vllm.usage.usage_lib": ["UsageContext.OPENAI_API_SERVER"],
    "vllm.v1.executor.abstract": ["Executor.get_class"],
}
LAYER_NAMES = {
    "engine-core": {
        "vllm.v1.engine": [
            "EngineCoreRequest",
            "EngineCoreOutputs.outputs",
            "EngineCoreOutputs.scheduler_stats",
            "EngineCoreOutputs.timestamp",
            "EngineCoreOutput.request_id",
            "EngineCoreOutput.new_token_ids",
            "EngineCoreOutput.finish_reason",
            "EngineCoreOutput.events",
            "EngineCoreOutput.prefill_stats",
            "EngineCoreEventType.QUEUED",
            "EngineCoreEventType.SCHEDULED",
            "EngineCoreEventType.PREEMPTED",
        ],
        "vllm.v1.engine.core_client": [
            "SyncMPClient.add_request",
            "SyncMPClient.get_output",
            "SyncMPClient.abort_requests",
            "SyncMPClient.reset_prefix_cache",
            "SyncMPClient.shutdown",
        ],
    },
    "async-llm": {
        "vllm.sampling_params": ["RequestOutputKind.DELTA"],
        "vllm.v1.engine.async_llm": [
            "AsyncLLM.generate",
            "AsyncLLM.abort",
            "AsyncLLM.reset_prefix_cache",
            "AsyncLLM.shutdown",
        ],
        "vllm.v1.engine.exceptions": ["EngineDeadError"],
        "vllm.v1.metrics.loggers": ["StatLoggerBase"],
    },
}
# Arguments that vLLM's engine core takes and never looks at.
FRONTEND_ONLY = ("max_num_queued_reqs", "max_num_queued_tokens", "stream_interval")
# Needed only where there is no tokenizer.json, or where text is sent to the engine core.
TOKENIZER_NAME = ("vllm.tokenizers", "cached_tokenizer_from_config")

OUT_OF_MEMORY = (
    "out of memory",
    "outofmemory",
    "cannot allocate memory",
    "no available memory for the cache blocks",
    "larger than the available kv cache memory",
    "is less than desired gpu memory utilization",
)


class Refused(Exception):
    """An error with its kind, a word of the protocol."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def describe(error, kind):
    """Kind and message of an exception; `kind` where the exception does not tell."""
    message = explain(error)
    if isinstance(error, Refused):
        kind = error.kind
    elif isinstance(error, MemoryError) or is_out_of_memory(f"{type(error).__name__}: {message}"):
        kind = "out-of-memory"
    return kind, message


def judge(line, is_loading):
    """Kind and message of the last line of a traceback in the engine's log."""
    name, _, message = line.partition(": ")
    if is_out_of_memory(line):
        return "out-of-memory", line
    # A part of vLLM that only the engine's own process imports: it will not be there the next time either.
    if name.rpartition(".")[2] in ("ModuleNotFoundError", "ImportError"):
        return (
            "environment",
            f"vLLM's engine process in {sys.executable}: {message}: install what is missing there, "
            "or name another interpreter in engine.python",
        )
    # What the engine says of its configuration once it sees the whole of it.
    is_refused = is_loading and name in ("ValueError", "NotImplementedError")
    return ("arguments", message) if is_refused else ("engine", line)


def is_out_of_memory(message):
    message = message.lower()
    return any(words in message for words in OUT_OF_MEMORY)


def explain(error):
    """An exception on one line: pydantic's report without its links, others by their first paragraph."""
    if callable(getattr(error, "errors", None)) and hasattr(error, "error_count"):
        return "; ".join(fault(one) for one in error.errors())
    paragraph = str(error).strip().split("\n\n")[0]
    text = " ".join(paragraph.split()) or "no reason given"
    plain = isinstance(error, (Refused, ValueError, RuntimeError, OSError))
    return text if plain else f"{type(error).__name__}: {text}"


def fault(one):
    # Beside the names of fields, pydantic's path tells which member of a union it tried.
    where = ".".join(str(part) for part in one["loc"] if str(part).isalnum() or str(part).isidentifier())
    text = " ".join(one["msg"].split()).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return f"{where}: {text}" if where else text


def find(module, name):
    """The value of a dotted name in a module of vLLM."""
    try:
        value = importlib.import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
        return value
    except AttributeError:
        missing = f"{module}.{name}"
    except ModuleNotFoundError as error:
        if error.name == "vllm":
            raise Refused(
                "environment",
                f"{sys.executable} has no vLLM: install it there (uv pip install --python {sys.executable} vllm), "
                "or name another interpreter in engine.python",
            ) from None
        if not module.startswith(str(error.name)):
            raise Refused("environment", f"importing {module} failed in {sys.executable}: {error}") from None
        missing = module
    except ImportError as error:
        raise Refused("environment", f"importing {module} failed in {sys.executable}: {error}") from None
    version = getattr(sys.modules.get("vllm"), "__version__", "of unknown version")
    raise Refused("environment", f"vLLM {version} in {sys.executable} has no {missing}, which this worker relies on")


def require(layer):
    """Imports vLLM and finds every name that the layer relies on."""
    for module, names in [*NAMES.items(), *LAYER_NAMES[layer].items()]:
        for name in names:
            find(module, name)


def configure(layer, args):
    """vLLM's own configuration, made from arguments by its own code."""
    require(layer)
    engine_args = find("vllm.engine.arg_utils", "AsyncEngineArgs")
    known = {field.name for field in dataclasses.fields(engine_args)}
    if unknown := sorted(args.keys() - known):
        raise Refused("arguments", f"{version()} takes no {'; no '.join(with_nearest(name, known) for name in unknown)}")
    if args.get("disable_log_stats"):
        raise Refused("arguments", "disable_log_stats = true hides what the scheduler does: leave it out")
    for name in ("model", "tokenizer"):
        path = args.get(name) or ""
        if path.startswith(("/", ".", "~")) and not os.path.exists(path):
            raise Refused("arguments", f"{name} {path}: there is no such directory")
    if layer == "engine-core" and (vain := [name for name in FRONTEND_ONLY if args.get(name) is not None]):
        raise Refused(
            "arguments",
            f'{", ".join(vain)}: only the frontend heeds it; use layer = "async-llm", or leave it out',
        )
    config = create(engine_args, args)
    ranks = config.parallel_config.data_parallel_size
    if layer == "engine-core" and ranks > 1:
        raise Refused(
            "arguments",
            f'data_parallel_size = {ranks}: layer "engine-core" drives one rank; use layer = "async-llm" or 1',
        )
    return config


def as_served(engine_args, args):
    """The configuration that `vllm serve` makes of these: defaults of the batch depend on who asks for them."""
    server = find("vllm.usage.usage_lib", "UsageContext.OPENAI_API_SERVER")
    return engine_args(**args).create_engine_config(usage_context=server)


def create(engine_args, args):
    try:
        return as_served(engine_args, args)
    except OSError as error:
        if args["model"] in str(error):
            raise
        raise Refused("arguments", f"model {args['model']}: {explain(error)}") from error
    except (AssertionError, AttributeError, TypeError) as error:
        # Python's words for a value of the wrong type, which do not say whose.
        wrong = [name for name in args if name != "model" and is_taken(engine_args, args, without=name)]
        values = ", ".join(f"{name} = {json.dumps(args[name])}" for name in wrong)
        raise Refused("arguments", f"{values or 'engine args'}: {explain(error)}") from error


def is_taken(engine_args, args, without):
    try:
        as_served(engine_args, {name: value for name, value in args.items() if name != without})
    except Exception:
        return False
    return True


def version():
    return f"vLLM {find('vllm', '__version__')}"


def with_nearest(name, known):
    near = " or ".join(f"`{one}`" for one in difflib.get_close_matches(name, known, n=2))
    return f"engine arg `{name}` (did you mean {near}?)" if near else f"engine arg `{name}`"


def processes():
    """Ids of the processes that the engine started: it needs each of them."""
    return [process.pid for process in multiprocessing.active_children()]


def settle():
    """The engine is up: what exists now stays, so the collector need not walk it in the middle of a probe (0.3 s here).

    vLLM's own server does the same.
    """
    gc.collect()
    gc.freeze()


def executor_class(config):
    return find("vllm.v1.executor.abstract", "Executor").get_class(config)


def model_commit(model):
    """The hub's hash of the model, or None for a directory. Offline vLLM puts the cached snapshot, named by its hash, in
    the place of the id, and transformers no longer knows the hash."""
    directory, name = os.path.split(model.model)
    if os.path.basename(directory) == "snapshots":
        return name
    return getattr(model.hf_config, "_commit_hash", None)


def resolved(config):
    """`Resolved` of the protocol as JSON; the KV capacity is known once the engine is up."""
    cache, scheduler, model = config.cache_config, config.scheduler_config, config.model_config
    return json.dumps({
        "version": find("vllm", "__version__"),
        "packages": packages(),
        "kv_cache_tokens": kv_cache_tokens(config),
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "block_size": cache.block_size,
        "max_model_len": model.max_model_len,
        "dtype": str(model.dtype).removeprefix("torch."),
        "devices": devices(config.parallel_config.world_size_across_dp),
        "model_commit": model_commit(model),
    })


def kv_cache_tokens(config):
    """Capacity of all ranks together, or None before the engine is up."""
    cache = config.cache_config
    if not cache.num_gpu_blocks:
        return None
    # Of one rank, where vLLM counts it: blocks of hybrid models do not all hold a block's worth of tokens.
    of_rank = getattr(cache, "kv_cache_size_tokens", None)
    # Blocks are of all ranks already.
    return of_rank * config.parallel_config.data_parallel_size if of_rank else cache.num_gpu_blocks * cache.block_size


def packages():
    found = {"python": platform.python_version()}
    for name in ("torch", "transformers"):
        if module := sys.modules.get(name):
            found[name] = str(module.__version__)
    return found


def devices(count):
    current = find("vllm.platforms", "current_platform")
    try:
        return [current.get_device_name(rank) for rank in range(count)]
    except (NotImplementedError, RuntimeError) as error:
        print(f"ceiling: the platform does not name its devices: {error}", file=sys.stderr)
        return []


def model_size(config):
    """Rows of the model's embedding: ids at or above it have no meaning to the model."""
    return config.model_config.get_vocab_size()


def tokenizer_file(config):
    """Path of the model's tokenizer.json, or None where it has none. The engine has been loaded: the cache is filled."""
    name, revision = config.model_config.tokenizer, config.model_config.tokenizer_revision
    if os.path.isdir(name):
        path = os.path.join(name, "tokenizer.json")
        return path if os.path.isfile(path) else None
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cached = try_to_load_from_cache(name, "tokenizer.json", revision=revision)
    if isinstance(cached, str):
        return cached
    try:
        return hf_hub_download(name, "tokenizer.json", revision=revision)
    except (EntryNotFoundError, LocalEntryNotFoundError):
        return None


def tokenizer(config):
    """The engine's own tokenizer."""
    made = find(*TOKENIZER_NAME)(config.model_config)
    if made is None:
        raise Refused("arguments", "skip_tokenizer_init leaves nothing to make tokens with: leave it out")
    return made


def usable_ids(config):
    """Ids without special and added tokens, by the engine's own tokenizer."""
    own = tokenizer(config)
    added = set(own.all_special_ids) | set(getattr(own, "get_added_vocab", dict)().values())
    return sorted(set(range(model_size(config))) & set(own.get_vocab().values()) - added)


def sampling(output_tokens, detokenize=False, **more):
    """Exactly so many tokens at the least cost: greedy, nothing stops it, no text is made unless it is asked for.

    ignore_eos takes every stop token of the model's away; min_tokens would say the same again, and make vLLM mask
    those tokens in each step.
    """
    params = find("vllm", "SamplingParams")
    return params(max_tokens=output_tokens, ignore_eos=True, temperature=0.0, detokenize=detokenize, **more)


class EngineCore:
    """vLLM's engine core by its synchronous client."""

    def __init__(self, config):
        client = find("vllm.v1.engine.core_client", "SyncMPClient")
        self.config = config
        self.client = client(config, executor_class(config), log_stats=True)
        self.tokenizer = None
        # Fields come and go between releases: what has no default and is not ours is None.
        self.request = find("vllm.v1.engine", "EngineCoreRequest")
        fields = inspect.signature(self.request).parameters.values()
        self.absent = {field.name: None for field in fields if field.default is field.empty}

    def encode(self, text):
        """The tokens that vLLM itself makes of a text, special tokens included."""
        if self.tokenizer is None:
            self.tokenizer = tokenizer(self.config)
        return self.tokenizer.encode(text)

    def prepare(self, request_id, tokens, params):
        limit = self.config.model_config.max_model_len
        # The engine core does not check what its frontends check, and ends with a request that does not fit.
        if len(tokens) + params.max_tokens > limit:
            raise Refused(
                "arguments",
                f"a prompt of {len(tokens)} tokens and output_tokens = {params.max_tokens} are more than max_model_len = {limit}",
            )
        ours = {
            "request_id": request_id,
            "prompt_token_ids": tokens,
            "sampling_params": params,
            "arrival_time": time.time(),
        }
        return self.request(**(self.absent | ours))


class AsyncEngine:
    """vLLM's AsyncLLM on an event loop in a thread of its own. What happens goes to `sink`, which is Rust."""

    def __init__(self, config, sink):
        engine = find("vllm.v1.engine.async_llm", "AsyncLLM")
        self.sink = sink
        self.dead = find("vllm.v1.engine.exceptions", "EngineDeadError")
        # log_stats=False with a logger of our own: statistics without vLLM's lines in the log.
        self.engine = engine(
            vllm_config=config,
            executor_class=executor_class(config),
            log_stats=False,
            log_requests=False,
            stat_loggers=[stat_logger(sink)],
        )
        self.tasks = set()
        # Those of which nothing has come, by request id.
        self.unheard = {}
        # That of `vllm serve`.
        self.loop = find("uvloop", "new_event_loop")()
        threading.Thread(target=self.loop.run_forever, name="ceiling-loop", daemon=True).start()

    def sampling(self, output_tokens):
        # What this layer costs is asked about: the text that a server streams is made too.
        delta = find("vllm.sampling_params", "RequestOutputKind").DELTA
        return sampling(output_tokens, detokenize=True, output_kind=delta)

    def submit(self, requests):
        """Starts a list of (request id, prompt, sampling params)."""
        self.loop.call_soon_threadsafe(self.start, requests)

    def start(self, requests):
        for request in requests:
            task = self.loop.create_task(self.follow(*request))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            self.unheard[request[0]] = task

    async def follow(self, request_id, prompt, params):
        sink = self.sink
        try:
            sink.submitted(request_id)
            async for output in self.engine.generate(prompt, params, request_id):
                self.unheard.pop(request_id, None)
                # The first of a turn of the loop asks for a flush after it, so that Rust wakes once a turn.
                if sink.output(request_id, output):
                    self.loop.call_soon(sink.flush)
        except self.dead as error:
            sink.gone(error)
        except Exception as error:
            self.unheard.pop(request_id, None)
            sink.rejected(request_id, explain(error))

    def abort_requests(self, request_ids):
        future = asyncio.run_coroutine_threadsafe(self.abort(request_ids), self.loop)
        future.add_done_callback(self.report)

    async def abort(self, request_ids):
        await self.engine.abort(request_ids)
        # vLLM passes over what it does not know yet: a text becomes tokens in another thread first, and would be sent to the engine
        # after all. Whoever follows such a request is told to leave it.
        for request_id in request_ids:
            if task := self.unheard.pop(request_id, None):
                task.cancel()

    def report(self, future):
        if error := future.exception():
            self.sink.gone(error)

    def reset_prefix_cache(self):
        return asyncio.run_coroutine_threadsafe(self.engine.reset_prefix_cache(), self.loop).result()

    def shutdown(self, timeout):
        self.engine.shutdown(timeout=timeout)


def stat_logger(sink):
    class Scheduler(find("vllm.v1.metrics.loggers", "StatLoggerBase")):
        def __init__(self, vllm_config, engine_index=0):
            pass

        def record(self, scheduler_stats, iteration_stats, *more, **named):
            if scheduler_stats is not None and sink.scheduler(scheduler_stats):
                asyncio.get_running_loop().call_soon(sink.flush)

        def log_engine_initialized(self):
            pass

    return Scheduler
