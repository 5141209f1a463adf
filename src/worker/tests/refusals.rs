//! What vLLM does not take, said before anything is loaded.
#![expect(clippy::unwrap_used, reason = "a test ends where what it needs is not there")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use ceiling_core::protocol::{EngineError, EngineErrorKind, EngineSpec, Layer};
use serde_json::{Value, json};
use support::{Worker, python, tiny, tiny_model};

fn with(args: Value) -> EngineSpec {
    tiny(Layer::EngineCore, args)
}

fn arguments(message: &str) -> EngineError {
    EngineError { kind: EngineErrorKind::Arguments, message: message.to_owned() }
}

/// The Python that the environment was made from, which has no vLLM.
fn bare_python() -> PathBuf {
    let told = Command::new(python()).args(["-c", "import sys; print(sys._base_executable)"]).output().unwrap();
    PathBuf::from(String::from_utf8(told.stdout).unwrap().trim())
}

#[test]
fn arguments_are_checked_one_configuration_after_the_other() {
    let mut worker = Worker::start();
    let resolved = worker.check(with(json!({"max_num_seqs": 8}))).unwrap();
    assert_eq!((resolved.max_num_seqs, resolved.kv_cache_tokens, resolved.load_seconds), (Some(8), None, None));

    let error = worker.check(with(json!({"max_num_seq": 8, "flux": 1}))).unwrap_err();
    let told = error.message.strip_prefix(&format!("vLLM {} takes no engine arg ", resolved.version)).unwrap();
    assert!(told.starts_with("`flux`; no engine arg `max_num_seq` (did you mean `max_num_seqs`"), "{told}");
    assert_eq!(error.kind, EngineErrorKind::Arguments);

    let model = EngineSpec { model: "/no/such/model".into(), ..with(json!({})) };
    assert_eq!(worker.check(model), Err(arguments("model /no/such/model: there is no such directory")));
    let tokenizer = EngineSpec { tokenizer: Some("/no/such".into()), ..with(json!({})) };
    assert_eq!(worker.check(tokenizer), Err(arguments("tokenizer /no/such: there is no such directory")));
    let no_model =
        EngineSpec { model: Path::new(&tiny_model()).parent().unwrap().display().to_string(), ..with(json!({})) };
    let error = worker.check(no_model).unwrap_err();
    assert!(error.message.contains("config.json") && !error.message.contains('\n'), "{}", error.message);

    let error = worker.check(with(json!({"gpu_memory_utilization": 3.0}))).unwrap_err();
    assert_eq!(error, arguments("gpu_memory_utilization: Input should be less than or equal to 1"));
    let error = worker.check(with(json!({"max_num_seqs": "many"}))).unwrap_err();
    assert!(error.message.starts_with("max_num_seqs = \"many\": "), "{}", error.message);
    let error = worker.check(with(json!({"disable_log_stats": true}))).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Arguments);
    let error = worker.check(with(json!({"max_num_queued_reqs": 64}))).unwrap_err();
    assert!(error.message.starts_with("max_num_queued_reqs: only the frontend heeds it"), "{}", error.message);
    let error = worker.check(with(json!({"data_parallel_size": 2}))).unwrap_err();
    assert!(error.message.contains("engine-core") && error.message.contains("async-llm"), "{}", error.message);

    // A load is refused alike, and the worker goes on.
    let error = worker.load(with(json!({"max_num_seq": 8}))).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Arguments);
    assert!(worker.check(with(json!({}))).is_ok());
}

#[test]
fn defaults_are_those_of_vllm_serve() {
    // On CPUs vLLM's server lets in twice as many where there are two ranks; an engine that nobody serves, as many as with one.
    let resolved = Worker::start().check(with(json!({"tensor_parallel_size": 2}))).unwrap();
    assert_eq!((resolved.max_num_seqs, resolved.max_num_batched_tokens), (Some(256), Some(4096)), "{resolved:?}");
}

#[test]
fn a_python_without_vllm_is_named_with_the_remedy() {
    let python = bare_python();
    let error = Worker::start_in(&python, &[]).check(with(json!({}))).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Environment);
    assert!(error.message.starts_with(&format!("{} has no vLLM: install it", python.display())), "{}", error.message);
}

/// As vLLM for a GPU starts up without FlashInfer.
const MISSING: &str = r#"
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "vllm.v1.worker.cpu_worker":
            raise ModuleNotFoundError("No module named 'flashinfer'", name="flashinfer")

sys.meta_path.insert(0, Missing())
"#;

#[test]
fn a_module_that_only_the_engine_process_misses_is_the_environments_fault() {
    let path = tempfile::tempdir().unwrap();
    std::fs::write(path.path().join("sitecustomize.py"), MISSING).unwrap();
    let env = [("PYTHONPATH", path.path().to_str().unwrap())];
    let mut worker = Worker::start_in(&python(), &env);
    let error = worker.load(with(json!({}))).unwrap_err();
    let missing =
        "No module named 'flashinfer': install what is missing there, or name another interpreter in engine.python";
    let message = format!("vLLM's engine process in {}: {missing}", python().display());
    assert_eq!(error, EngineError { kind: EngineErrorKind::Environment, message });
}

#[test]
fn the_last_line_of_the_engines_traceback_tells_whose_fault_it_is() {
    let table = [
        ("ModuleNotFoundError: No module named 'flashinfer'", "environment"),
        ("ImportError: libcudart.so.13: cannot open shared object file: No such file or directory", "environment"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "out-of-memory"),
        ("ValueError: No available memory for the cache blocks.", "out-of-memory"),
        ("ValueError: max_num_seqs must be positive", "arguments or engine"),
        ("NotImplementedError: fp4 on this platform", "arguments or engine"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "engine"),
    ];
    // While it loads, or once it serves: a configuration that it came up with is not at fault any more.
    let script = "import shim, sys\n\
        for line in sys.argv[1:]:\n\
        \x20   print(*dict.fromkeys(shim.judge(line, is_loading)[0] for is_loading in (True, False)), sep=' or ')";
    let mut judge = Command::new(bare_python());
    judge.args(["-c", script]).args(table.map(|(line, _)| line));
    judge.env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("vllm")).env("PYTHONDONTWRITEBYTECODE", "1");
    let judged = judge.output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    let kinds: Vec<&str> = std::str::from_utf8(&judged.stdout).unwrap().lines().collect();
    assert_eq!(kinds, table.map(|(_, kind)| kind));
}

#[test]
fn a_vllm_that_lacks_a_name_is_told_with_its_version() {
    let path = tempfile::tempdir().unwrap();
    std::fs::create_dir(path.path().join("vllm")).unwrap();
    std::fs::write(path.path().join("vllm/__init__.py"), "__version__ = '0.1.0'\nSamplingParams = None\n").unwrap();
    let env = [("PYTHONPATH", path.path().to_str().unwrap())];
    let error = Worker::start_in(&bare_python(), &env).check(with(json!({}))).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Environment);
    assert!(error.message.starts_with("vLLM 0.1.0 in "), "{}", error.message);
    assert!(error.message.contains("has no vllm.engine.arg_utils"), "{}", error.message);
}
