//! The two clocks of a probe.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Seconds on the monotonic clock of this machine: the one that Python's `time.monotonic`, and so the engine, reads.
pub fn monotonic() -> f64 {
    seconds(clock_gettime(ClockId::Monotonic))
}

/// CPU time that all threads of this process have used, in seconds.
pub fn cpu() -> f64 {
    seconds(clock_gettime(ClockId::ProcessCPUTime))
}

fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
