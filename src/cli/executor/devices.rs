//! Which GPUs there are, and which of them an engine group may have.

use ceiling_core::experiment::{Engine, Execution, Gpus, VllmEngine};
use ceiling_core::plan::EngineGroup;

/// `CUDA_VISIBLE_DEVICES` of the caller, where it is set.
pub fn callers_devices() -> Option<String> {
    std::env::var("CUDA_VISIBLE_DEVICES").ok()
}

/// The GPUs that engines may use, by the names that `CUDA_VISIBLE_DEVICES` takes: those that the caller leaves, else
/// all that the driver knows of. Empty where there are none. As CUDA does, it takes no name after one that names no device, such as the -1 that
/// hides all of them.
pub fn gpus(callers: Option<&str>, installed: impl FnOnce() -> u32) -> Vec<String> {
    match callers {
        Some(list) => list.split(',').map(str::trim).take_while(|name| !names_none(name)).map(str::to_owned).collect(),
        None => (0..installed()).map(|index| index.to_string()).collect(),
    }
}

fn names_none(name: &str) -> bool {
    name.is_empty() || name.starts_with('-')
}

/// How many GPUs the NVIDIA driver knows of; none where there is no driver.
pub fn installed() -> u32 {
    // Without a driver there is no NVML, which is the same as no GPU.
    nvml_wrapper::Nvml::init().and_then(|nvml| nvml.device_count()).unwrap_or(0)
}

/// What an engine group takes while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// So many of these GPUs.
    Gpus { count: usize, among: Vec<String> },
    /// A slot on the CPU, of this many in all.
    Cpu { slots: usize },
    /// Nothing: the simulator.
    Nothing,
}

/// What a group takes. Numbers in an experiment count within what the caller can see: with `CUDA_VISIBLE_DEVICES=2,3`,
/// GPU 1 of an experiment is device 3.
///
/// # Errors
/// Where there are not enough GPUs for it, in words for people.
pub fn needs(group: &EngineGroup, gpus: &[String]) -> Result<Needs, String> {
    let Engine::Vllm(engine) = &*group.engine else { return Ok(Needs::Nothing) };
    let Execution { gpus: wanted, slots, .. } = &*group.execution;
    let among = match wanted {
        Gpus::None => return Ok(Needs::Cpu { slots: *slots as usize }),
        Gpus::All if gpus.is_empty() => return Ok(Needs::Cpu { slots: *slots as usize }),
        Gpus::All => gpus.to_vec(),
        Gpus::These(indices) => {
            let name = |&index: &u32| gpus.get(index as usize).cloned();
            indices.iter().map(|index| name(index).ok_or_else(|| missing(*index, gpus))).collect::<Result<_, _>>()?
        }
    };
    let count = width(engine);
    match usize::try_from(count) {
        Ok(count) if count <= among.len() => Ok(Needs::Gpus { count, among }),
        _ => Err(format!("it takes {count} GPUs (the product of its parallel sizes), and may use {}", among.len())),
    }
}

/// GPUs that an engine spreads over: the product of its parallel sizes.
fn width(engine: &VllmEngine) -> u64 {
    let size = |key: &str| engine.spec.args.get(key).and_then(serde_json::Value::as_u64).unwrap_or(1);
    size("tensor_parallel_size")
        .saturating_mul(size("pipeline_parallel_size"))
        .saturating_mul(size("data_parallel_size"))
}

/// How many GPUs to ask a batch system for.
///
/// # Errors
/// Where the group names GPUs that a batch system hands out, in words for people.
pub fn gpus_of(group: &EngineGroup) -> Result<u32, String> {
    let Engine::Vllm(engine) = &*group.engine else { return Ok(0) };
    match group.execution.gpus {
        Gpus::None => Ok(0),
        Gpus::All => u32::try_from(width(engine)).map_err(|_| format!("it takes {} GPUs", width(engine))),
        Gpus::These(_) => {
            let reason = "execution.gpus names GPUs by index, and on a cluster the batch system hands them out";
            Err(format!("{reason}: say \"all\" or \"none\""))
        }
    }
}

fn missing(index: u32, gpus: &[String]) -> String {
    match gpus.len() {
        0 => format!("execution.gpus names GPU {index}, and there is none: on a CPU say gpus = \"none\""),
        count => format!("execution.gpus names GPU {index}, and only {count} can be seen, counted from 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_decides_what_can_be_seen() {
        assert_eq!(gpus(Some("2, GPU-a"), || 8), ["2", "GPU-a"]);
        for hidden in ["", "-1", "-1,2"] {
            assert_eq!(gpus(Some(hidden), || 8), [""; 0], "{hidden:?}");
        }
        assert_eq!(gpus(Some("2,-1,3"), || 8), ["2"]);
        assert_eq!(gpus(None, || 2), ["0", "1"]);
    }
}
