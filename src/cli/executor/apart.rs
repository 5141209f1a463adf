//! What keeps workers that run side by side out of each other's way.

use std::path::Path;

use super::slots::Lease;

/// The first port that the engine in place 1 looks at for its own use; places are this far apart.
const PORTS: (usize, usize) = (29_600, 100);

/// Who gave GPUs their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// The caller, in the order that the caller's environment has CUDA count in.
    Callers,
    /// The driver: CUDA is to count as it does.
    Drivers,
}

impl Numbering {
    /// That of this process's caller.
    pub fn of_caller() -> Self {
        let is_set = |name| std::env::var_os(name).is_some();
        if is_set("CUDA_VISIBLE_DEVICES") || is_set("CUDA_DEVICE_ORDER") { Self::Callers } else { Self::Drivers }
    }
}

/// Environment variables for a worker, beside those of its experiment.
///
/// The engine in the first place keeps the caller's caches and ports: one that runs alone finds them warm. `caches` is
/// where the others have theirs.
pub fn env(lease: &Lease, numbering: Numbering, caches: Option<&Path>) -> Vec<(String, String)> {
    // Without a GPU it is empty, so that none is seen.
    let mut env = vec![("CUDA_VISIBLE_DEVICES".to_owned(), lease.gpus.join(","))];
    if numbering == Numbering::Drivers && !lease.gpus.is_empty() {
        // By itself CUDA counts the fastest first.
        env.push(("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned()));
    }
    if lease.place == 0 {
        return env;
    }
    env.push(("VLLM_PORT".to_owned(), (PORTS.0 + PORTS.1 * lease.place).to_string()));
    if let Some(caches) = caches {
        let place = caches.join(format!("ceiling/place-{}", lease.place));
        let directories =
            [("VLLM_CACHE_ROOT", "vllm"), ("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")];
        env.extend(directories.map(|(name, directory)| (name.to_owned(), place.join(directory).display().to_string())));
    }
    env
}

/// Where programs of this user keep caches.
pub fn caches() -> Option<std::path::PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(std::path::PathBuf::from);
    set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::devices::Needs;
    use crate::executor::slots::Slots;

    #[test]
    fn only_the_second_engine_is_kept_apart() {
        let mut slots = Slots::default();
        let all = Needs::Gpus { count: 1, among: vec!["4".into(), "6".into()] };
        let (first, second) = (slots.take(&all).unwrap(), slots.take(&all).unwrap());
        let of = |lease| env(lease, Numbering::Callers, Some(Path::new("/cache")));
        assert_eq!(of(&first), [("CUDA_VISIBLE_DEVICES".to_owned(), "4".to_owned())]);
        let second = of(&second);
        assert_eq!(second[0].1, "6");
        assert_eq!(second[1], ("VLLM_PORT".to_owned(), "29700".to_owned()));
        assert_eq!(second[2], ("VLLM_CACHE_ROOT".to_owned(), "/cache/ceiling/place-1/vllm".to_owned()));
    }

    #[test]
    fn cuda_counts_as_whoever_gave_the_numbers() {
        let mut slots = Slots::default();
        let lease = slots.take(&Needs::Gpus { count: 1, among: vec!["1".into()] }).unwrap();
        let order =
            |lease, numbering| env(lease, numbering, None).into_iter().find(|(name, _)| name == "CUDA_DEVICE_ORDER");
        assert_eq!(order(&lease, Numbering::Callers), None);
        assert_eq!(order(&lease, Numbering::Drivers).unwrap().1, "PCI_BUS_ID");
        let none = slots.take(&Needs::Cpu { slots: 1 }).unwrap();
        assert_eq!(order(&none, Numbering::Drivers), None);
    }
}
