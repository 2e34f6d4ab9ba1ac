//! What ends a run before its time: Ctrl-C or SIGTERM. The first ends the run, the second its wait for the sessions' ends.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// See the module.
#[derive(Debug)]
pub struct Stop(Option<(Signal, Signal)>);

impl Stop {
    /// Nothing does.
    pub fn never() -> Self {
        Self(None)
    }

    /// From here on these signals no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// The signals cannot be listened for.
    pub fn on_signals() -> io::Result<Self> {
        Ok(Self(Some((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))))
    }

    /// Resolves when the run is to end.
    pub(super) async fn asked(&mut self) {
        match &mut self.0 {
            Some((interrupt, terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            None => std::future::pending().await,
        }
    }
}
