//! Runs actors in a test on paused time: the clock jumps to the next deadline as soon as nothing else is left to do.

use std::future::Future;
use std::time::Duration;

/// Runs `test` to its end on an actix system of this thread whose clock stands still while anything is runnable.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap_or_else(|error| unreachable!("a test runtime starts: {error}"))
    });
    system.block_on(test)
}

/// Moves the test's clock on by `time`, doing all that becomes due meanwhile in its order. Nothing real is waited for.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
