//! Nothing of an engine outlives its worker, and no worker its executor.
//!
//! | what ends | what follows |
//! | --- | --- |
//! | the executor, or its end of the command descriptor | the worker ends its process group and itself: [`end`] |
//! | the worker, however | the kernel kills its children, and theirs: `vllm/guard.py` |
//!
//! Python's resource tracker is spared: once every other process is gone it removes what they left in `/dev/shm`
//! (160 MB of message queue per engine), and ends.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, set_parent_process_death_signal};

/// How long an engine may take to shut down by itself.
pub const GRACE: Duration = Duration::from_secs(5);

/// Asks the kernel to kill this process when the thread of the executor that started it ends.
pub fn bind() -> std::io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Ends this process and its group at once.
pub fn end() -> ! {
    let own = getpid();
    // Not the leader: somebody started the worker by hand, and the group is theirs.
    if getpgrp() == own {
        for pid in group_of(own) {
            // It may have ended by itself in the meantime.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let failed = kill_process(own, Signal::KILL);
    eprintln!("ceiling: cannot end: {failed:?}");
    std::process::abort();
}

/// Ends everything after [`GRACE`], unless the process has ended by itself before.
pub fn end_soon() {
    std::thread::spawn(|| {
        std::thread::sleep(GRACE);
        end();
    });
}

/// The other processes of a group, but for resource trackers. One that is started after this look is the kernel's to
/// kill.
fn group_of(leader: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| *pid != leader && group(*pid) == Some(leader) && !is_resource_tracker(*pid)).collect()
}

fn group(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // Its name, in parentheses, may hold anything; then come state, parent and group.
    let (_, fields) = stat.rsplit_once(") ")?;
    Pid::from_raw(fields.split(' ').nth(2)?.parse().ok()?)
}

fn is_resource_tracker(pid: Pid) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("multiprocessing.resource_tracker")
}
