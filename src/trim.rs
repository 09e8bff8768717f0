//! Gives memory back to the system that was freed: by libzmq, or with very many topics.
//!
//! glibc returns freed blocks only from the end of a heap, and some small thing always stands there. libzmq
//! holds a message until its last part has come, 64 bytes or more a part: after a message of ten million parts,
//! 520 MiB of free memory stayed with the process. After a million topics, 160 MB did. `malloc_trim` returns the
//! pages between.
//! It takes a lock of the allocator for as long as it works there, and the loop must not wait for it, so
//! a thread does it.
//!
//! Never here: when memory is given back (whoever has freed much says so).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Begins to give free memory back, unless that is under way.
pub fn begin() {
    static IS_UNDER_WAY: AtomicBool = AtomicBool::new(false);
    if IS_UNDER_WAY.swap(true, Ordering::AcqRel) {
        return;
    }
    let trims = thread::Builder::new().name("trim".to_owned()).spawn(|| {
        trim();
        IS_UNDER_WAY.store(false, Ordering::Release);
    });
    if let Err(error) = trims {
        log::warn!("memory: free memory is not given back: no thread: {error}");
        IS_UNDER_WAY.store(false, Ordering::Release);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "the only unsafe line: no safe function asks glibc for this"
)]
fn trim() {
    // SAFETY: `malloc_trim` takes no pointer, and every thread may call it at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators return free memory by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
