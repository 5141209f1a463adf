//! The processes of a worker.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::{LIMIT, Worker};

/// A process of a worker's group.
pub struct Member {
    pub pid: Pid,
    pub command: String,
    alive: OwnedFd,
}

impl Worker {
    /// The living processes of its group, itself included.
    pub fn group(&self) -> Vec<Member> {
        let leader = self.pid().to_string();
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let (_, fields) = stat.rsplit_once(") ")?;
            let fields: Vec<_> = fields.split(' ').collect();
            if fields[2] != leader || fields[0] == "Z" {
                return None;
            }
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            Some(Member { pid, command, alive: pidfd_open(pid, PidfdFlags::empty()).ok()? })
        })
        .collect()
    }

    /// Waits until the engine has started processes of its own, at least so many in all.
    pub fn group_of(&self, least: usize) -> Vec<Member> {
        let begin = Instant::now();
        loop {
            let group = self.group();
            if group.len() >= least {
                return group;
            }
            assert!(begin.elapsed() < LIMIT * 3, "{} processes\n{}", group.len(), self.log());
            // There is no event for the birth of somebody else's grandchild.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Asserts that each of these processes ends within the limit.
pub fn assert_gone(members: &[Member], limit: Duration) {
    let until = Instant::now() + limit;
    for member in members {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap();
        let ended = poll(&mut [PollFd::new(&member.alive, PollFlags::IN)], Some(&left)).unwrap();
        assert_eq!(ended, 1, "still there: {} {}", member.pid.as_raw_nonzero(), member.command);
    }
}

impl Member {
    pub fn kill(&self) {
        kill_process(self.pid, Signal::KILL).unwrap();
    }
}
