//! Writes the MID and the repaired RID (RFC 8852 §3.2) onto retransmissions of simulcast layers, which the `webrtc` crate
//! leaves out: a server cannot tell otherwise which layer they repair.

use std::collections::HashMap;

use bytes::Bytes;
use rtc::interceptor::{Packet, StreamInfo};
use rtc::shared::error::Error;

use super::codecs::{MID_URI, REPAIRED_RID_URI};
use super::pass::Watch;

/// Position in the chain: nearer to the wire than who answers NACKs, farther than who numbers packets for feedback.
pub const REPAIR_SLOT: usize = 3_500;

/// The m-section of the video: the crate numbers them in the order in which tracks are added, and video is the first.
pub const VIDEO_MID: &str = "0";

/// Writes them.
#[derive(Default)]
pub struct RepairNames {
    /// RID of each layer by its SSRC.
    rids: HashMap<u32, &'static str>,
    /// By the SSRC of retransmissions: extension ids with their values.
    names: HashMap<u32, Vec<(u8, Bytes)>>,
}

impl RepairNames {
    /// For layers with these SSRCs and RIDs.
    pub fn new(rids: impl IntoIterator<Item = (u32, &'static str)>) -> Self {
        Self { rids: rids.into_iter().collect(), ..Self::default() }
    }
}

impl Watch for RepairNames {
    fn goes(&mut self, packet: &mut Packet) -> Result<(), Error> {
        if let Packet::Rtp(packet) = packet {
            for (id, value) in self.names.get(&packet.header.ssrc).into_iter().flatten() {
                packet.header.set_extension(*id, value.clone())?;
            }
        }
        Ok(())
    }

    fn begins(&mut self, info: &StreamInfo) {
        let (Some(rid), Some(repair)) = (self.rids.get(&info.ssrc), info.ssrc_rtx) else { return };
        let values = [(MID_URI, VIDEO_MID), (REPAIRED_RID_URI, *rid)];
        let names = values.into_iter().filter_map(|(uri, value)| {
            let extension = info.rtp_header_extensions.iter().find(|extension| extension.uri == uri)?;
            Some((u8::try_from(extension.id).ok()?, Bytes::from_static(value.as_bytes())))
        });
        self.names.insert(repair, names.collect());
    }

    fn ends(&mut self, info: &StreamInfo) {
        if let Some(repair) = info.ssrc_rtx {
            self.names.remove(&repair);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::time::Instant;

    use rtc::interceptor::{AttributedPacket, Interceptor as _, RTPHeaderExtension, TaggedPacket};
    use rtc::rtp::header::Header;
    use rtc::sansio::Protocol as _;

    use super::*;
    use crate::publisher::pass::Pass;

    #[test]
    fn retransmissions_name_their_layer_and_media_stays_as_it_is() {
        let mut pass = Pass::new(RepairNames::new([(7, "h")]));
        let extension = |uri: &str, id| RTPHeaderExtension { uri: uri.to_owned(), id };
        pass.bind_local_stream(&StreamInfo {
            ssrc: 7,
            ssrc_rtx: Some(8),
            rtp_header_extensions: vec![extension(MID_URI, 3), extension(REPAIRED_RID_URI, 5)],
            ..StreamInfo::default()
        });
        for (ssrc, mid, rid) in [(7, None, None), (8, Some(&b"0"[..]), Some(&b"h"[..]))] {
            let header = Header { version: 2, ssrc, ..Header::default() };
            let packet = Packet::Rtp(rtc::rtp::Packet { header, payload: Bytes::from_static(b"x") });
            let message = TaggedPacket {
                now: Instant::now(),
                transport: Default::default(),
                message: AttributedPacket::new(packet),
            };
            pass.handle_write(message).unwrap();
            let Packet::Rtp(sent) = pass.poll_write().unwrap().message.packet else { panic!("no RTP") };
            assert_eq!(sent.header.get_extension(3).as_deref(), mid);
            assert_eq!(sent.header.get_extension(5).as_deref(), rid);
        }
    }
}
