//! Which GPUs a worker gets to see.

use ceiling_core::experiment::Gpus;

/// `CUDA_VISIBLE_DEVICES` of the caller, where it is set.
pub fn callers_devices() -> Option<String> {
    std::env::var("CUDA_VISIBLE_DEVICES").ok()
}

/// `CUDA_VISIBLE_DEVICES` for a worker; `None` leaves the caller's as it is.
///
/// Numbers in an experiment count within what the caller can see: with `CUDA_VISIBLE_DEVICES=2,3`, GPU 1 of an
/// experiment is device 3.
pub fn visible_devices(gpus: &Gpus, callers: Option<&str>) -> Option<String> {
    match gpus {
        Gpus::All => None,
        Gpus::None => Some(String::new()),
        Gpus::These(indices) => {
            let visible: Option<Vec<&str>> = callers.map(|list| list.split(',').map(str::trim).collect());
            let name = |index: &u32| match &visible {
                Some(visible) => visible.get(*index as usize).map(|&device| device.to_owned()),
                None => Some(index.to_string()),
            };
            Some(indices.iter().filter_map(name).collect::<Vec<_>>().join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_experiment_narrows_what_the_caller_sees() {
        let these = Gpus::These(vec![0, 1]);
        let table = [
            (&Gpus::All, Some("2,3"), None),
            (&Gpus::None, Some("2,3"), Some("")),
            (&these, None, Some("0,1")),
            (&these, Some("2, 3"), Some("2,3")),
            (&these, Some("GPU-a,GPU-b,GPU-c"), Some("GPU-a,GPU-b")),
            (&these, Some("5"), Some("5")),
        ];
        for (gpus, callers, expected) in table {
            assert_eq!(visible_devices(gpus, callers).as_deref(), expected, "{gpus:?} {callers:?}");
        }
    }
}
