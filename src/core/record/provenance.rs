//! Where a result comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a number may depend on beside its experiment. Absent where it could not be found out.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of `ceiling`.
    pub ceiling: String,
    /// The repository in whose working tree the run was started.
    pub git: Option<Git>,
    /// The engine that was driven; the first that came up, where there are several.
    pub engine: Option<EngineVersion>,
    /// Version of the Python that the first worker ran in.
    pub python: Option<String>,
    /// Operating system, kernel and processor architecture.
    pub platform: String,
    /// Model name of the processor.
    pub cpu: Option<String>,
    /// Processors that the run could use.
    pub cpus: Option<u32>,
    /// Memory of the machine in bytes.
    pub memory_bytes: Option<u64>,
    /// Version of the NVIDIA driver.
    pub nvidia_driver: Option<String>,
    /// `CUDA_VISIBLE_DEVICES` as the caller had it.
    pub cuda_visible_devices: Option<String>,
}

/// The state of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Git {
    /// Hash of the commit that is checked out.
    pub commit: String,
    /// Branch, unless the head is detached.
    pub branch: Option<String>,
    /// Whether tracked files differ from it; results do not count.
    pub dirty: bool,
}

/// Which engine was driven.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct EngineVersion {
    /// `vllm` or `sim`.
    pub kind: String,
    /// Its version.
    pub version: String,
}
