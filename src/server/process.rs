//! What the system says about this process. It is read when it is asked for, in some microseconds.
//!
//! Never here: what newswire counts itself.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::admin::readings::ProcessReadings;

/// In descriptors, up to how many are counted one by one, where the kernel does not know their number
/// itself (before Linux 6.2).
const COUNTED_FILES_MAX: usize = 10_000;

/// Reads all of it. With very many `connections`, descriptors are not counted one by one.
pub fn read(started_at: f64, connections: usize) -> ProcessReadings {
    let times = fs::read_to_string("/proc/self/stat").ok();
    ProcessReadings {
        resident_bytes: resident_bytes(),
        open_files: open_files(connections),
        files_max: getrlimit(Resource::Nofile).current,
        cpu_seconds: times.and_then(|stat| cpu_seconds(&stat)),
        started_at,
    }
}

fn resident_bytes() -> Option<u64> {
    let memory = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = memory.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

/// Since Linux 6.2 the size of the folder is the number of descriptors.
fn open_files(connections: usize) -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 if connections > COUNTED_FILES_MAX => None,
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64),
        files => Some(files),
    }
}

/// Fields 14 and 15. The second one is the program's name in parentheses, with anything in it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11);
    let mut next = || ticks.next()?.parse::<u64>().ok();
    let (user, system) = (next()?, next()?);
    Some((user + system) as f64 / clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_stand_behind_any_name() {
        let stat = "1 (a) b) S 1 1 1 0 -1 4194560 1 2 3 4 300 50 0 0 20 0 1 0 5";
        let seconds = cpu_seconds(stat).expect("two numbers");
        assert!((seconds * clock_ticks_per_second() as f64 - 350.0).abs() < 0.01);
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let process = read(0.0, 0);
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(process.open_files.is_some_and(|files| files >= 3));
        assert!(process.files_max >= process.open_files);
    }
}
