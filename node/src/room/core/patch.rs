//! What a PATCH means: candidates, or an ICE restart.

use super::{
    IceCredentials, NegotiatedMedia, PeerInput, RoomCore, RoomError, RoomOutput, SessionId, ShardId,
};

/// Former ICE user fragments that a session remembers: a PATCH that names one is late, not a restart. More restarts
/// than this within the life of one stray request do not happen.
const FORMER_UFRAGS: usize = 8;

/// The `If-Match` of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// There is none.
    Missing,
    /// `*` or `"*"`.
    Any,
    /// Strong entity tags of ours among those that it lists.
    Tags(Vec<u64>),
}

/// What a PATCH turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::room) enum PatchKind {
    /// Candidates, or nothing new: as an ICE-lite agent we have nothing to do with them.
    Trickle,
    /// New ICE credentials of the client; ours are to be drawn for this shard.
    Restart(ShardId),
}

impl RoomCore {
    /// Decides what a PATCH with these ICE credentials of the client is (RFC 9725 §4.3.2, §4.3.3).
    ///
    /// A restart comes with `*`, as the client cannot know the tag that it will get. A matching tag with new credentials
    /// is a restart too: the client means the session as it is. Credentials of an earlier time are late whatever the tag.
    pub(in crate::room) fn patch(
        &self,
        session: SessionId,
        if_match: &IfMatch,
        remote: Option<&IceCredentials>,
    ) -> Result<PatchKind, RoomError> {
        let session = self.sessions.get(&session).ok_or(RoomError::NoSession)?;
        match if_match {
            IfMatch::Missing => return Err(RoomError::PreconditionMissing),
            IfMatch::Tags(tags) if !tags.contains(&session.etag) => {
                return Err(RoomError::PreconditionFailed);
            }
            IfMatch::Tags(_) | IfMatch::Any => {}
        }
        match remote {
            Some(remote) if session.former_ufrags.contains(&remote.ufrag) => {
                Err(RoomError::PreconditionFailed)
            }
            Some(remote) if session.ufrag != remote.ufrag => Ok(PatchKind::Restart(session.shard)),
            _ => Ok(PatchKind::Trickle),
        }
    }

    /// Restarts a session's ICE; from now on `etag` is its entity tag. Returns what its answer agreed on.
    pub fn restart(
        &mut self,
        id: SessionId,
        local: IceCredentials,
        remote: IceCredentials,
        etag: u64,
    ) -> Result<Vec<NegotiatedMedia>, RoomError> {
        let session = self.sessions.get_mut(&id).ok_or(RoomError::NoSession)?;
        if session.former_ufrags.len() == FORMER_UFRAGS {
            session.former_ufrags.pop_front();
        }
        let former = std::mem::replace(&mut session.ufrag, remote.ufrag.clone());
        session.former_ufrags.push_back(former);
        session.etag = etag;
        let (shard, input) = (session.shard, PeerInput::RestartIce { local, remote });
        match session.peer {
            Some(peer) => self.outputs.push_back(RoomOutput::TellPeer { shard, peer, input }),
            // A viewer that is quicker than the notice of its peer; of two restarts the later one counts.
            None => session.untold = Some(input),
        }
        Ok(session.media.clone())
    }
}
