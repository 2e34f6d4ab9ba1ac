//! Raises the limit of open files to what the system allows: each HTTP and ICE-TCP connection is one.

use tracing::{info, warn};

/// Raises the soft limit to the hard one.
pub(super) fn raise_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live `rlimit` of ours, which is all that the call writes to.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if read != 0 {
        warn!("limit of open files cannot be read");
        return;
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if limit.rlim_cur == before {
        return;
    }
    // SAFETY: the pointer is to a live `rlimit` of ours, which is all that the call reads.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => info!(before, now = limit.rlim_cur, "limit of open files raised"),
        _ => warn!(before, "limit of open files stays as it is"),
    }
}
