//! Writes the MID and the repaired RID (RFC 8852 §3.2) onto retransmissions of simulcast layers, which the `webrtc` crate
//! leaves out: a server cannot tell otherwise which layer they repair.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use super::codecs::{MID_URI, REPAIRED_RID_URI};

/// Position in the chain: nearer to the wire than who answers NACKs, farther than who numbers packets for feedback.
pub const REPAIR_SLOT: usize = 3_500;

/// The m-section of the video: the crate numbers them in the order in which tracks are added, and video is the first.
pub const VIDEO_MID: &str = "0";

/// The interceptor.
#[derive(Default)]
pub struct RepairNames {
    /// RID of each layer by its SSRC.
    rids: HashMap<u32, &'static str>,
    /// By the SSRC of retransmissions: extension ids with their values.
    names: HashMap<u32, Vec<(u8, Bytes)>>,
    incoming: VecDeque<TaggedPacket>,
    outgoing: VecDeque<TaggedPacket>,
}

impl RepairNames {
    /// An interceptor for layers with these SSRCs and RIDs.
    pub fn new(rids: impl IntoIterator<Item = (u32, &'static str)>) -> Self {
        Self { rids: rids.into_iter().collect(), ..Self::default() }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for RepairNames {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        self.incoming.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<Self::Rout> {
        self.incoming.pop_front()
    }

    fn handle_write(&mut self, mut message: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtp(packet) = &mut message.message.packet {
            for (id, value) in self.names.get(&packet.header.ssrc).into_iter().flatten() {
                packet.header.set_extension(*id, value.clone())?;
            }
        }
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<Self::Wout> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for RepairNames {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        let (Some(rid), Some(repair)) = (self.rids.get(&info.ssrc), info.ssrc_rtx) else { return };
        let values = [(MID_URI, VIDEO_MID), (REPAIRED_RID_URI, *rid)];
        let names = values.into_iter().filter_map(|(uri, value)| {
            let extension = info.rtp_header_extensions.iter().find(|extension| extension.uri == uri)?;
            Some((u8::try_from(extension.id).ok()?, Bytes::from_static(value.as_bytes())))
        });
        self.names.insert(repair, names.collect());
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        if let Some(repair) = info.ssrc_rtx {
            self.names.remove(&repair);
        }
    }

    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use rtc::interceptor::{AttributedPacket, RTPHeaderExtension};
    use rtc::rtp::header::Header;

    use super::*;

    #[test]
    fn retransmissions_name_their_layer_and_media_stays_as_it_is() {
        let mut names = RepairNames::new([(7, "h")]);
        let extension = |uri: &str, id| RTPHeaderExtension { uri: uri.to_owned(), id };
        names.bind_local_stream(&StreamInfo {
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
            names.handle_write(message).unwrap();
            let Packet::Rtp(sent) = names.poll_write().unwrap().message.packet else { panic!("no RTP") };
            assert_eq!(sent.header.get_extension(3).as_deref(), mid);
            assert_eq!(sent.header.get_extension(5).as_deref(), rid);
        }
    }
}
