//! Nothing of an engine outlives its worker, and no worker its executor.
//!
//! | what ends | what follows |
//! | --- | --- |
//! | the executor, or its end of the command descriptor | the worker kills its process group: [`end`] |
//! | the worker, however | the kernel kills its children, and theirs: `vllm/guard.py` |

use std::time::Duration;

use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group, set_parent_process_death_signal};

/// How long an engine may take to shut down by itself.
pub const GRACE: Duration = Duration::from_secs(5);

/// Asks the kernel to kill this process when the thread of the executor that started it ends.
pub fn bind() -> std::io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Ends this process and its whole group at once.
pub fn end() -> ! {
    let own = getpid();
    // Not the leader: somebody started the worker by hand, and the group is theirs.
    let killed = if getpgrp() == own { kill_process_group(own, Signal::KILL) } else { kill_process(own, Signal::KILL) };
    eprintln!("ceiling: cannot kill process group {own:?}: {killed:?}");
    std::process::abort();
}

/// Ends everything after [`GRACE`], unless the process has ended by itself before.
pub fn end_soon() {
    std::thread::spawn(|| {
        std::thread::sleep(GRACE);
        end();
    });
}
