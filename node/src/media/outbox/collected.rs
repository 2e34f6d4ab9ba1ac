//! For tests: keeps what is transmitted, datagram by datagram.

use super::{SendBatch, Transmit};
use crate::media::path::Path;

/// What was transmitted, and where to.
#[derive(Default)]
pub(crate) struct Collected(pub(crate) Vec<(Path, Vec<u8>)>);

impl Transmit for Collected {
    fn transmit(&mut self, batch: &SendBatch) {
        for run in batch.runs() {
            self.0.extend(batch.datagrams(run).map(|datagram| (run.path, datagram.to_vec())));
        }
    }
}
