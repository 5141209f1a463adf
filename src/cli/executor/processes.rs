//! Processes as the kernel lists them under `/proc`.

use std::fs;

use nix::unistd::Pid;

/// A process, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    group: Pid,
    state: char,
}

impl Process {
    /// False for one that has ended and waits to be reaped.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Reads a line of `/proc/<pid>/stat`.
    fn parse(stat: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything; then come state, parent and group.
        let (head, fields) = stat.rsplit_once(") ")?;
        let pid = head.split_once(' ')?.0.parse().ok()?;
        let mut fields = fields.split(' ');
        let state = fields.next()?.chars().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        Some(Self { pid: Pid::from_raw(pid), group: Pid::from_raw(group), state })
    }
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
        let process = Process::parse("4711 (a) b (c) Z 1 815 815 0 -1").unwrap();
        assert_eq!((process.pid.as_raw(), process.group.as_raw(), process.is_alive()), (4711, 815, false));
        assert_eq!(Process::parse("nothing"), None);
    }

    #[test]
    fn this_process_is_one_of_its_group() {
        let own = nix::unistd::getpid();
        assert!(of_group(nix::unistd::getpgrp()).any(|process| process.pid == own && process.is_alive()));
    }
}
