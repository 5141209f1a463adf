//! Processes as the kernel lists them under `/proc`.

use std::fs;
use std::time::Duration;

use nix::unistd::{Pid, SysconfVar, sysconf};

/// A process, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// CPU time that all its threads have used, in user and kernel mode.
    pub cpu: Duration,
    /// Memory that it has resident, in bytes.
    pub memory_bytes: u64,
    group: Pid,
    state: char,
}

impl Process {
    /// False for one that has ended and waits to be reaped.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// A process by its id; `None` where there is none.
    pub fn read(pid: Pid) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Reads a line of `/proc/<pid>/stat`.
    fn parse(stat: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything; state, parent and group follow it, and much further back come ticks of
        // CPU time in user and in kernel mode, and resident pages.
        let (head, fields) = stat.rsplit_once(") ")?;
        let pid = head.split_once(' ')?.0.parse().ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let (ticks, pages) = (number(11)? + number(12)?, number(21)?);
        Some(Self {
            pid: Pid::from_raw(pid),
            cpu: Duration::from_secs_f64(ticks as f64 / system(SysconfVar::CLK_TCK)? as f64),
            memory_bytes: pages * system(SysconfVar::PAGE_SIZE)?,
            group: Pid::from_raw(fields.get(2)?.parse().ok()?),
            state: fields.first()?.chars().next()?,
        })
    }
}

fn system(variable: SysconfVar) -> Option<u64> {
    sysconf(variable).ok()??.try_into().ok().filter(|value| *value > 0)
}

/// Memory of the machine that programs can still get, in bytes.
pub fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// All processes of a group.
pub fn of_group(group: Pid) -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    let directories = entries.filter(move |entry| is_process(&entry.file_name()));
    // One that ends while it is looked at is none.
    let all = directories.filter_map(|entry| Process::parse(&fs::read_to_string(entry.path().join("stat")).ok()?));
    all.filter(move |process| process.group == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat =
            "4711 (a) b (c) Z 1 815 815 0 -1 4194304 9 0 0 0 150 50 0 0 20 0 1 0 5555 9999 3 18446744073709551615";
        let process = Process::parse(stat).unwrap();
        assert_eq!((process.pid.as_raw(), process.group.as_raw(), process.is_alive()), (4711, 815, false));
        // 100 ticks a second and pages of 4 KiB are what every Linux on x86 has.
        assert_eq!((process.cpu, process.memory_bytes), (Duration::from_secs(2), 3 * 4096));
        assert_eq!(Process::parse("nothing"), None);
        assert_eq!(Process::parse("4711 (a) Z 1 815"), None);
    }

    #[test]
    fn this_process_is_one_of_its_group() {
        let own = nix::unistd::getpid();
        assert!(of_group(nix::unistd::getpgrp()).any(|process| process.pid == own && process.is_alive()));
    }
}
