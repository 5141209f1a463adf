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

impl Provenance {
    /// Where numbers come from that were measured on several machines: what these do not agree on is absent.
    #[must_use]
    pub fn agreed(self, other: &Self) -> Self {
        fn same<T: PartialEq>(one: Option<T>, other: &Option<T>) -> Option<T> {
            one.filter(|one| other.as_ref() == Some(one))
        }
        let platform = if self.platform == other.platform { self.platform } else { "several".to_owned() };
        Self {
            platform,
            cpu: same(self.cpu, &other.cpu),
            cpus: same(self.cpus, &other.cpus),
            memory_bytes: same(self.memory_bytes, &other.memory_bytes),
            nvidia_driver: same(self.nvidia_driver, &other.nvidia_driver),
            cuda_visible_devices: same(self.cuda_visible_devices, &other.cuda_visible_devices),
            ..self
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_machines_do_not_agree_on_is_absent() {
        let on = |cpu: &str, driver: Option<&str>| Provenance {
            ceiling: "1".to_owned(),
            platform: "linux".to_owned(),
            cpu: Some(cpu.to_owned()),
            cpus: Some(8),
            nvidia_driver: driver.map(str::to_owned),
            ..Provenance::default()
        };
        let agreed = on("a", Some("550")).agreed(&on("b", Some("550")));
        assert_eq!(agreed, Provenance { cpu: None, ..on("a", Some("550")) });
        // Once they differ, nothing brings it back.
        assert_eq!(agreed.agreed(&on("a", None)), Provenance { cpu: None, ..on("a", None) });
    }
}
