//! Gives freed memory back to the system, after libzmq, very many topics or many connections had used it.
//!
//! glibc returns freed blocks only from the end of a heap, and a small block in use nearly always stands there. libzmq
//! keeps a message until its last part has come, with 64 bytes or more for each part: after a message of ten million
//! parts, 520 MiB of free memory stayed with the process. After a million topics, 160 MB stayed. `malloc_trim` returns
//! the free pages in between. It holds a lock of the allocator while it works, and the loop must not wait for that, so
//! a thread calls it.
//!
//! Never here: when memory is given back (the code that has freed much calls [`begin`]).

use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

const IDLE: u8 = 0;
const AT_WORK: u8 = 1;
/// More was freed while the thread was at work.
const ONCE_MORE: u8 = 2;

/// Has a thread give free memory back.
pub fn begin() {
    static STATE: AtomicU8 = AtomicU8::new(IDLE);
    let next = |state| Some(if state == IDLE { AT_WORK } else { ONCE_MORE });
    let before = STATE.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    if before != Ok(IDLE) {
        return;
    }
    let trims = thread::Builder::new().name("trim".to_owned()).spawn(|| {
        loop {
            trim();
            let done = STATE.compare_exchange(AT_WORK, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if done.is_ok() {
                return;
            }
            STATE.store(AT_WORK, Ordering::Release);
        }
    });
    if let Err(error) = trims {
        log::warn!(
            "memory: free memory is not given back to the system: no thread for it: {error}"
        );
        STATE.store(IDLE, Ordering::Release);
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
