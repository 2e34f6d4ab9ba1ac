//! Which layer a viewer asks for, and what that means for its stream.

use super::{LayerWish, RoomCore, RoomError, RoomOutput, SessionId, StreamName};
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
        if let Some(rid) = &request.rid
            && self.streams.get(&session.stream).and_then(|stream| stream.live.layer(rid)).is_none()
        {
            return Err(RoomError::UnknownLayer(rid.clone()));
        }
        session.wish = Some(request.clone());
        self.wish_again(id);
        Ok(())
    }

    /// Tells the shard of a viewer's wish as its stream is now, if the viewer has one and its peer is known. A layer that
    /// the stream does not have any more bounds nothing.
    pub(super) fn wish_again(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (Some(peer), Some(request)) = (session.peer, &session.wish) else { return };
        let live = self.streams.get(&session.stream).map(|stream| &stream.live);
        let limit = LayerLimit {
            layer: request.rid.as_ref().and_then(|rid| live?.layer(rid)),
            spatial: request.spatial,
            temporal: request.temporal,
            max_width: request.max_width,
            max_height: request.max_height,
        };
        let wish = if limit == LayerLimit::default() { LayerWish::Best } else { LayerWish::AtMost(limit) };
        self.outputs.push_back(RoomOutput::WishLayer { shard: session.shard, peer, wish });
    }

    /// Another publisher has the stream: the layers that its viewers asked for by name may be others now.
    pub(super) fn wish_all_again(&mut self, stream: &StreamName) {
        let names = |wish: &LayerRequest| wish.rid.is_some();
        let theirs = self
            .sessions
            .iter()
            .filter(|(_, session)| session.stream == *stream && session.wish.as_ref().is_some_and(names));
        let theirs: Vec<SessionId> = theirs.map(|(id, _)| *id).collect();
        theirs.into_iter().for_each(|viewer| self.wish_again(viewer));
    }
}
