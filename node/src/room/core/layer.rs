//! Which layer a viewer asks for, and what that means for its stream.

use super::{LayerWish, RoomCore, RoomError, RoomOutput, SessionId};
use crate::media::codec::MediaKind;
use crate::media::selection::LayerLimit;

/// A wish in the words of WHEP's layer extension; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerRequest {
    /// The place of the section whose video is meant, as text; the first with video if it is left out.
    pub media_id: Option<String>,
    /// The simulcast layer.
    pub rid: Option<String>,
    /// Highest spatial layer.
    pub spatial: Option<u8>,
    /// Highest temporal layer.
    pub temporal: Option<u8>,
    /// In pixels.
    pub max_width: Option<u16>,
    /// In pixels.
    pub max_height: Option<u16>,
}

impl RoomCore {
    /// A viewer asks for a layer; without any bound it leaves the choice to us.
    pub fn select_layer(&mut self, id: SessionId, request: &LayerRequest) -> Result<(), RoomError> {
        let session = self.sessions.get_mut(&id).ok_or(RoomError::NoSession)?;
        let section = session.video_section.map(|section| section.to_string());
        let meant = request.media_id.clone().or_else(|| section.clone()).unwrap_or_default();
        if section.as_ref() != Some(&meant) {
            return Err(RoomError::UnknownMedia(meant));
        }
        let tracks = self.streams.get(&session.stream).map(|stream| stream.live.tracks.as_slice());
        let video = tracks.unwrap_or_default().iter().find(|track| track.kind() == MediaKind::Video);
        let index = |rid: &String| {
            let found = video.and_then(|track| track.rids.iter().position(|known| known == rid));
            found
                .and_then(|index| u8::try_from(index).ok())
                .ok_or_else(|| RoomError::UnknownLayer(rid.clone()))
        };
        let limit = LayerLimit {
            layer: request.rid.as_ref().map(index).transpose()?,
            spatial: request.spatial,
            temporal: request.temporal,
            max_width: request.max_width,
            max_height: request.max_height,
        };
        let wish = if limit == LayerLimit::default() { LayerWish::Best } else { LayerWish::AtMost(limit) };
        let shard = session.shard;
        match session.peer {
            Some(peer) => self.outputs.push_back(RoomOutput::WishLayer { shard, peer, wish }),
            None => session.unwished = Some(wish),
        }
        Ok(())
    }
}
