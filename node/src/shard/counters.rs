//! What a shard counts beside its plane: plain numbers that its owner reads once a second.

use crate::media::path::Path;
use crate::media::selection::Switches;

/// What the shard itself counts; its plane has counters of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// STUN datagrams that were given to a peer.
    pub stun_routed: u64,
    /// STUN datagrams that name no peer of ours.
    pub stun_unknown: u64,
    /// Checks in the name of a peer, but not by its password, in a flood of them; or more good ones than it needs.
    pub stun_forged: u64,
    /// Checks that peers answered with success.
    pub stun_answered: u64,
    /// Checks that peers answered with an error. Those that were routed and are in neither were dropped.
    pub stun_refused: u64,
    /// Datagrams that are neither STUN, DTLS nor RTP (RFC 7983).
    pub protocol_unknown: u64,
    /// DTLS, RTP and RTCP from an address that no peer has proved to be its own.
    pub path_unknown: u64,
    /// DTLS that cannot mean anything to a peer whose handshake is done.
    pub dtls_pointless: u64,
    /// DTLS beyond what a peer is given in a while.
    pub dtls_flood: u64,
    /// STUN and DTLS answers that found no room among those that wait to be sent.
    pub transmit_full: u64,
    /// Peers whose actor died.
    pub peers_died: u64,
    /// Changes of viewers from one layer to another.
    pub layer_switches: Switches,
}

/// Connected peers by the transport that ICE chose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectedPeers {
    /// Over UDP.
    pub udp: usize,
    /// Over an ICE-TCP connection.
    pub tcp: usize,
}

/// Of the paths in use.
impl FromIterator<Path> for ConnectedPeers {
    fn from_iter<T: IntoIterator<Item = Path>>(paths: T) -> Self {
        paths.into_iter().fold(Self::default(), |mut connected, path| {
            match path {
                Path::Udp(_) => connected.udp += 1,
                Path::Tcp(_) => connected.tcp += 1,
            }
            connected
        })
    }
}
