//! Looks at GPUs and processes while a probe is measured: before its first request, once a second, and after its last.
//!
//! A look is made in a thread of its own and asks the engine nothing. Counters (CPU time, energy) are read at both ends, so
//! that they are exact however short a probe is; the rest is what the looks after the first showed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use ceiling_core::telemetry::{GpuSeen, ProcessesSeen, Telemetry};
use ceiling_core::units::Share;
use nix::unistd::Pid;
use tokio::sync::oneshot;

use super::aside::answer;
use super::gpus::{Gpus, Reading};
use super::processes::{self, Process};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is looked at.
#[derive(Clone)]
pub struct Subject {
    /// The driver.
    pub gpus: Arc<dyn Gpus>,
    /// The engine's GPUs.
    pub names: Vec<String>,
    /// The worker, which leads a process group.
    pub worker: Pid,
}

/// A look that goes on. Dropped, it ends.
pub struct Recorder {
    stop: Sender<()>,
    told: oneshot::Receiver<Telemetry>,
}

impl Recorder {
    /// Begins; the first look is over when this returns, unless a driver is slow to answer.
    pub async fn begin(subject: Subject) -> Self {
        let (stop, stopped) = channel();
        let (begun, has_begun) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let mut seen = Seen::new(&subject);
            seen.look(&subject);
            // Whoever waited for either may have gone.
            let _ = begun.send(());
            while is_wanted(&stopped) {
                seen.look(&subject);
            }
            seen.look(&subject);
            let _ = tell.send(seen.telemetry(&subject));
        });
        answer(has_begun).await;
        Self { stop, told }
    }

    /// Ends with a last look; `None` where a driver does not answer.
    pub async fn end(self) -> Option<Telemetry> {
        drop(self.stop);
        answer(self.told).await
    }
}

/// After a while: whether anybody still listens.
fn is_wanted(stopped: &Receiver<()>) -> bool {
    matches!(stopped.recv_timeout(INTERVAL), Err(RecvTimeoutError::Timeout))
}

/// What was seen so far.
struct Seen {
    /// The readings of each GPU, in order.
    gpus: Vec<Vec<Reading>>,
    harness: Processes,
    engine: Processes,
    available: Option<u64>,
}

/// What was seen of some processes: of each the CPU time when it was first looked at and when it was last, and most memory
/// of all.
struct Processes {
    cpu: HashMap<Pid, (Duration, Duration)>,
    memory: Option<u64>,
}

impl Processes {
    fn new(members: impl Iterator<Item = Process>) -> Self {
        Self { cpu: members.map(|member| (member.pid, (member.cpu, member.cpu))).collect(), memory: None }
    }

    fn look(&mut self) {
        let mut memory = None;
        for (pid, (_, last)) in &mut self.cpu {
            // One that has ended used what it had used when it was last seen.
            let Some(process) = Process::read(*pid) else { continue };
            *last = process.cpu;
            memory = Some(memory.unwrap_or(0) + process.memory_bytes);
        }
        self.memory = self.memory.max(memory);
    }

    fn seen(&self) -> ProcessesSeen {
        if self.memory.is_none() {
            return ProcessesSeen::default();
        }
        let cpu: Duration = self.cpu.values().map(|(first, last)| last.saturating_sub(*first)).sum();
        ProcessesSeen { cpu_s: Some(cpu.into()), memory_bytes: self.memory }
    }
}

impl Seen {
    /// All processes are listed once: looking through all of a large machine's takes longer than the looks at a few.
    fn new(subject: &Subject) -> Self {
        let (harness, engine): (Vec<_>, Vec<_>) =
            processes::of_group(subject.worker).partition(|process| process.pid == subject.worker);
        Self {
            gpus: subject.names.iter().map(|_| Vec::new()).collect(),
            harness: Processes::new(harness.into_iter()),
            engine: Processes::new(engine.into_iter()),
            available: None,
        }
    }

    fn look(&mut self, subject: &Subject) {
        for (readings, name) in self.gpus.iter_mut().zip(&subject.names) {
            readings.push(subject.gpus.read(name));
        }
        self.harness.look();
        self.engine.look();
        self.available = self.available.into_iter().chain(processes::memory_available()).min();
    }

    fn telemetry(&self, subject: &Subject) -> Telemetry {
        Telemetry {
            gpus: subject.names.iter().zip(&self.gpus).map(|(name, readings)| gpu(name, readings)).collect(),
            harness: self.harness.seen(),
            engine: self.engine.seen(),
            memory_available_bytes: self.available,
        }
    }
}

/// Sums up what a GPU showed. The first reading is from before the probe and says nothing of it but where its counters stood;
/// the last is from after it, when clocks and power may have fallen already: it counts for them only where there is no other.
fn gpu(name: &str, readings: &[Reading]) -> GpuSeen {
    let later = readings.get(1..).unwrap_or_default();
    let during = if later.len() > 1 { &later[..later.len() - 1] } else { later };
    let mean = |of: fn(&Reading) -> Option<u32>| {
        let values: Vec<f64> = during.iter().filter_map(of).map(f64::from).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let energy = || {
        let (first, last) = (readings.first()?.energy_mj?, readings.last()?.energy_mj?);
        // A counter that went back was reset.
        Some(last.checked_sub(first)? as f64 / 1e3)
    };
    let reasons: Vec<&BTreeSet<_>> = later.iter().filter_map(|reading| reading.throttle.as_ref()).collect();
    GpuSeen {
        gpu: name.to_owned(),
        samples: u32::try_from(during.len()).unwrap_or(u32::MAX),
        utilization: mean(|reading| reading.utilization_percent).and_then(|percent| Share::new(percent / 100.0)),
        memory_bytes: later.iter().filter_map(|reading| reading.memory_bytes).max(),
        power_w: mean(|reading| reading.power_mw).map(|power| power / 1e3),
        energy_j: energy(),
        temperature_c: later.iter().filter_map(|reading| reading.temperature_c).max(),
        sm_clock_mhz: during.iter().filter_map(|reading| reading.sm_clock_mhz).min(),
        memory_clock_mhz: during.iter().filter_map(|reading| reading.memory_clock_mhz).min(),
        throttle: (!reasons.is_empty()).then(|| reasons.into_iter().flatten().copied().collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ceiling_core::telemetry::Throttle;

    use super::*;

    fn reading(at: u32) -> Reading {
        Reading {
            utilization_percent: Some(at * 10),
            memory_bytes: Some(u64::from(at) << 30),
            power_mw: Some(at * 100_000),
            energy_mj: Some(u64::from(at) * 5_000),
            temperature_c: Some(40 + at),
            sm_clock_mhz: Some(2000 - at * 100),
            memory_clock_mhz: Some(1000),
            throttle: Some(if at == 3 { [Throttle::SwPowerCap].into() } else { BTreeSet::new() }),
        }
    }

    #[test]
    fn gauges_are_from_within_a_probe_and_counters_from_both_ends() {
        let seen = gpu("0", &[1, 2, 4, 3].map(reading));
        let expected = GpuSeen {
            gpu: "0".into(),
            samples: 2,
            utilization: Share::new(0.3),
            memory_bytes: Some(4 << 30),
            power_w: Some(300.0),
            energy_j: Some(10.0),
            temperature_c: Some(44),
            sm_clock_mhz: Some(1600),
            memory_clock_mhz: Some(1000),
            throttle: Some([Throttle::SwPowerCap].into()),
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_short_probe_has_its_last_look() {
        let seen = gpu("0", &[1, 2].map(reading));
        assert_eq!((seen.samples, seen.utilization, seen.energy_j), (1, Share::new(0.2), Some(5.0)));
    }

    #[test]
    fn what_no_driver_says_is_absent_and_not_zero() {
        let silent = [Reading::default(), Reading::default(), Reading::default()];
        let expected = GpuSeen { gpu: "0".into(), samples: 1, ..GpuSeen::default() };
        assert_eq!(gpu("0", &silent), expected);
        let only_once = [Reading::default(), Reading { energy_mj: Some(7), ..Reading::default() }];
        assert_eq!(gpu("0", &only_once).energy_j, None, "where it stood before is not known");
        let reset = [reading(9), Reading { energy_mj: Some(7), ..Reading::default() }];
        assert_eq!(gpu("0", &reset).energy_j, None);
    }

    #[test]
    fn what_processes_used_is_absent_where_none_could_be_looked_at() {
        let mut seen = Processes::new(Process::read(Pid::this()).into_iter());
        assert_eq!(seen.seen(), ProcessesSeen::default());
        seen.look();
        assert!(seen.seen().memory_bytes > Some(1 << 20) && seen.seen().cpu_s.is_some());
        // No process has this id.
        let mut seen =
            Processes { cpu: [(Pid::from_raw(i32::MAX), (Duration::ZERO, Duration::ZERO))].into(), memory: None };
        seen.look();
        assert_eq!(seen.seen(), ProcessesSeen::default());
    }

    /// Says what it is given, one reading after the other.
    struct StandIn(Mutex<u32>);

    impl Gpus for StandIn {
        fn read(&self, _: &str) -> Reading {
            let mut at = self.0.lock().unwrap();
            *at += 1;
            reading(*at)
        }

        fn holders(&self, _: &str) -> Vec<u32> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn a_recorder_looks_before_and_after() {
        let own = nix::unistd::getpgrp();
        let gpus = Arc::new(StandIn(Mutex::new(0)));
        let recorder = Recorder::begin(Subject { gpus: gpus.clone(), names: vec!["7".into()], worker: own }).await;
        assert_eq!(*gpus.0.lock().unwrap(), 1, "the first look is over before the probe begins");
        let seen = recorder.end().await.unwrap();
        assert_eq!((seen.gpus[0].gpu.as_str(), seen.gpus[0].energy_j), ("7", Some(5.0)));
        assert!(seen.memory_available_bytes.unwrap() > 0);
        // This process is one of its group, and may or may not lead it.
        let memory = seen.harness.memory_bytes.unwrap_or(0) + seen.engine.memory_bytes.unwrap_or(0);
        assert!(memory > 1 << 20, "{seen:?}");
    }
}
