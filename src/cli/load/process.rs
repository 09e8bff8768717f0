//! What the kernel says about a process on this machine: its CPU time and its memory.
//!
//! Never here: any process but the one that was named.

use std::fs;

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// In nanoseconds of user and system time, all threads.
    pub cpu: u64,
    /// In bytes.
    pub resident: u64,
}

/// Looks at process `pid`; `None` when there is none, or when the system has no `/proc`.
pub fn usage(pid: u32) -> Option<Usage> {
    let cpu = fs::read_dir(format!("/proc/{pid}/task"))
        .ok()?
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(Usage {
        cpu,
        resident: pages * rustix::param::page_size() as u64,
    })
}
