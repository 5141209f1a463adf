//! Waits until a GPU's memory is back before the next engine is loaded onto it.
//!
//! The driver frees the memory of a process some time after it has ended, and an engine that comes up meanwhile finds less
//! than it should: it fails, or sizes its KV cache by what is left.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ceiling_core::units::Seconds;
use tokio::time::{Instant, sleep};

use super::aside::aside;
use super::gpus::Gpus;

/// How long memory may take to come back, in seconds; an engine that has less time to load waits no longer than that.
const PATIENCE: f64 = 60.0;

/// How often it is looked for.
const PAUSE: Duration = Duration::from_millis(250);

/// What a driver may keep for itself, in bytes.
const TOLERANCE: u64 = 256 << 20;

const GIB: f64 = (1_u64 << 30) as f64;

/// How much memory of each GPU is in use when this run uses none of it.
pub struct GpuMemory {
    gpus: Arc<dyn Gpus>,
    /// The least that was seen in use, in bytes.
    idle: RefCell<HashMap<String, u64>>,
}

impl GpuMemory {
    /// Looks at GPUs that no engine of this run is on yet.
    pub async fn look(gpus: Arc<dyn Gpus>, names: Vec<String>) -> Self {
        let memory = Self { gpus, idle: RefCell::default() };
        for (name, used) in memory.used(&names).await {
            memory.idle.borrow_mut().insert(name, used);
        }
        memory
    }

    /// Waits until no more of these GPUs is in use than when nothing of this run was on them; `waiting` is called where that
    /// is not so at once.
    ///
    /// # Errors
    /// Where that takes too long: which GPU, how much, and who has it, in words for people.
    pub async fn is_back(&self, names: &[String], limit: Seconds, waiting: impl FnOnce()) -> Result<(), String> {
        let mut held = self.held(names).await;
        if !held.is_empty() {
            waiting();
        }
        let limit = Seconds::new(PATIENCE).map_or(limit, |most| limit.min(most));
        let until = Instant::now() + limit.to_std();
        while !held.is_empty() {
            if Instant::now() >= until {
                return Err(self.name(held, limit).await);
            }
            sleep(PAUSE).await;
            held = self.held(names).await;
        }
        Ok(())
    }

    /// The GPUs that have more in use than they should, with how much more.
    async fn held(&self, names: &[String]) -> Vec<(String, u64)> {
        let mut held = Vec::new();
        for (name, used) in self.used(names).await {
            let mut idle = self.idle.borrow_mut();
            let idle = idle.entry(name.clone()).or_insert(used);
            // What was in use at first may have been an earlier run's.
            *idle = (*idle).min(used);
            if used > *idle + TOLERANCE {
                held.push((name, used - *idle));
            }
        }
        held
    }

    /// Memory in use, in bytes, of those GPUs that say so.
    async fn used(&self, names: &[String]) -> Vec<(String, u64)> {
        if names.is_empty() {
            return Vec::new();
        }
        let (gpus, names) = (self.gpus.clone(), names.to_vec());
        let used = move |name: String| gpus.read(&name).memory_bytes.map(|bytes| (name, bytes));
        aside(|| names.into_iter().filter_map(used).collect()).await.unwrap_or_default()
    }

    /// Says which memory is held, and by whom where the driver tells.
    async fn name(&self, held: Vec<(String, u64)>, limit: Seconds) -> String {
        let (gpus, names) = (self.gpus.clone(), held.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        let holders = move || names.iter().map(|name| gpus.holders(name)).collect::<Vec<_>>();
        let holders = aside(holders).await.unwrap_or_default().into_iter().chain(std::iter::repeat(Vec::new()));
        let say = |((name, bytes), pids): (&(String, u64), Vec<u32>)| {
            let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            let by = if pids.is_empty() { String::new() } else { format!(" (in use by process {pids})") };
            format!("{:.1} GiB of GPU {name} did not come back within {limit}{by}", *bytes as f64 / GIB)
        };
        held.iter().zip(holders).map(say).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::gpus::Reading;
    use super::*;

    /// Memory in use at one look after the other, in GiB; the last stays.
    struct StandIn(Mutex<Vec<f64>>);

    impl Gpus for StandIn {
        fn read(&self, gpu: &str) -> Reading {
            assert_eq!(gpu, "3");
            let mut left = self.0.lock().unwrap();
            let used = if left.len() > 1 { left.remove(0) } else { left[0] };
            Reading { memory_bytes: Some((used * GIB) as u64), ..Reading::default() }
        }

        fn holders(&self, _: &str) -> Vec<u32> {
            vec![4711]
        }
    }

    /// How a wait ends, and whether there was one.
    async fn wait(used: &[f64]) -> (Result<(), String>, bool) {
        let names = vec!["3".to_owned()];
        let memory = GpuMemory::look(Arc::new(StandIn(Mutex::new(used.to_vec()))), names.clone()).await;
        let mut waited = false;
        let result = memory.is_back(&names, Seconds::new(0.4).unwrap(), || waited = true).await;
        (result, waited)
    }

    #[tokio::test]
    async fn memory_is_waited_for_and_named_if_it_does_not_come_back() {
        assert_eq!(wait(&[1.0, 1.0]).await, (Ok(()), false));
        assert_eq!(wait(&[1.0, 1.1]).await, (Ok(()), false), "a driver may keep a little");
        assert_eq!(wait(&[1.0, 60.0, 1.0]).await, (Ok(()), true));
        assert_eq!(wait(&[60.0, 1.0]).await, (Ok(()), false), "what an earlier run had may go");
        let (result, waited) = wait(&[1.0, 13.0]).await;
        let expected = "12.0 GiB of GPU 3 did not come back within 400ms (in use by process 4711)";
        assert_eq!((result, waited), (Err(expected.to_owned()), true));
    }

    /// Says nothing.
    struct Silent;

    impl Gpus for Silent {
        fn read(&self, _: &str) -> Reading {
            Reading::default()
        }

        fn holders(&self, _: &str) -> Vec<u32> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn what_no_driver_says_is_not_waited_for() {
        let names = vec!["0".to_owned()];
        let memory = GpuMemory::look(Arc::new(Silent), names.clone()).await;
        let wait = memory.is_back(&names, Seconds::new(60.0).unwrap(), || panic!("waits"));
        assert_eq!(wait.await, Ok(()));
    }
}
