//! Gives freed memory back to the system, after libzmq or very many topics had used it.
//!
//! glibc returns freed blocks only from the end of a heap, and a small block in use nearly always stands there. libzmq
//! keeps a message until its last part has come, with 64 bytes or more for each part: after a message of ten million
//! parts, 520 MiB of free memory stayed with the process. After a million topics, 160 MB stayed. `malloc_trim` returns
//! the free pages in between. It holds a lock of the allocator while it works, and the loop must not wait for that, so
//! a thread calls it.
//!
//! Never here: when memory is given back (the code that has freed much calls [`begin`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Starts a thread that gives free memory back, unless one is at work.
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
        log::warn!(
            "memory: free memory is not given back to the system: no thread for it: {error}"
        );
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
