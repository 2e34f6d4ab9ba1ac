//! Which peer a ufrag or a path belongs to. When a peer goes, all that led to it goes with it.

use rustc_hash::FxHashMap;
use slab::Slab;
use smallvec::SmallVec;

use crate::media::path::{Path, PeerKey};
use crate::shard::message::AddPeerError;

/// Paths of one peer. A peer forgets old ones itself; full means that it does not, and its oldest route goes.
const PATHS_CAPACITY: usize = 16;

/// Ufrags of one peer: the one in use and the one that an ICE restart brings. Full means that there was another restart
/// before a check came under the last one: the waiting ufrag goes, as the peer forgets it too.
const UFRAGS_CAPACITY: usize = 2;

/// Peers with what leads to them, and a `T` for each.
pub struct Routes<T> {
    peers: Slab<Peer<T>>,
    /// How often each place of `peers` was taken.
    generations: Vec<u32>,
    peers_max: usize,
    by_ufrag: FxHashMap<Box<str>, PeerKey>,
    by_path: FxHashMap<Path, PeerKey>,
}

struct Peer<T> {
    key: PeerKey,
    /// The one in use first.
    ufrags: SmallVec<[Box<str>; UFRAGS_CAPACITY]>,
    paths: SmallVec<[Path; 2]>,
    value: T,
}

impl<T> Routes<T> {
    /// Room for `peers_max` peers.
    pub fn new(peers_max: usize) -> Self {
        Self {
            peers: Slab::new(),
            generations: Vec::new(),
            peers_max,
            by_ufrag: FxHashMap::default(),
            by_path: FxHashMap::default(),
        }
    }

    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// The keys of all peers.
    pub fn keys(&self) -> impl Iterator<Item = PeerKey> {
        self.peers.iter().map(|(_, peer)| peer.key)
    }

    /// What is kept for each peer.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.peers.iter().map(|(_, peer)| &peer.value)
    }

    /// Takes a peer in.
    ///
    /// # Errors
    ///
    /// [`AddPeerError::Full`] or [`AddPeerError::UfragTaken`].
    pub fn add(&mut self, ufrag: &str, value: T) -> Result<PeerKey, AddPeerError> {
        if self.peers.len() >= self.peers_max {
            return Err(AddPeerError::Full);
        }
        if self.by_ufrag.contains_key(ufrag) {
            return Err(AddPeerError::UfragTaken);
        }
        let index = self.peers.vacant_key();
        if index >= self.generations.len() {
            self.generations.resize(index + 1, 0);
        }
        let generation = self.generations.get_mut(index).map_or(0, |generation| {
            *generation = generation.wrapping_add(1);
            *generation
        });
        let key = PeerKey { index: index as u32, generation };
        self.peers.insert(Peer { key, ufrags: SmallVec::new(), paths: SmallVec::new(), value });
        self.add_ufrag(key, ufrag);
        Ok(key)
    }

    /// Routes one more ufrag to a peer, unless another has it. One that was added before and never used makes room.
    pub fn add_ufrag(&mut self, key: PeerKey, ufrag: &str) {
        if self.by_ufrag.contains_key(ufrag) {
            return;
        }
        let Some(peer) = self.peers.get_mut(key.index as usize).filter(|peer| peer.key == key) else {
            return;
        };
        if peer.ufrags.len() >= UFRAGS_CAPACITY
            && let Some(waiting) = peer.ufrags.pop()
        {
            self.by_ufrag.remove(&waiting);
        }
        peer.ufrags.push(ufrag.into());
        self.by_ufrag.insert(ufrag.into(), key);
    }

    /// A check under `ufrag` was good: it is the one in use now, and the one before leads nowhere any more. It may have
    /// made room for a later one in the meantime, which goes on waiting.
    pub fn use_ufrag(&mut self, key: PeerKey, ufrag: &str) {
        if self.by_ufrag.get(ufrag).is_some_and(|owner| *owner != key) {
            return;
        }
        let Some(peer) = self.peers.get_mut(key.index as usize).filter(|peer| peer.key == key) else {
            return;
        };
        let before = std::mem::take(&mut peer.ufrags);
        peer.ufrags.push(ufrag.into());
        for (place, known) in before.into_iter().enumerate() {
            if *known == *ufrag {
                continue;
            }
            if place == 0 {
                self.by_ufrag.remove(&known);
            } else {
                peer.ufrags.push(known);
            }
        }
        self.by_ufrag.insert(ufrag.into(), key);
    }

    /// Routes a path to a peer, whatever says that it is its own: whoever had it before has it no more.
    pub fn add_path(&mut self, key: PeerKey, path: Path) {
        let before = self.by_path.get(&path).copied();
        if before == Some(key) || self.get(key).is_none() {
            return;
        }
        if let Some(before) = before {
            self.remove_path(before, &path);
        }
        let Some(peer) = self.peers.get_mut(key.index as usize) else {
            return;
        };
        if peer.paths.len() >= PATHS_CAPACITY {
            let oldest = peer.paths.remove(0);
            self.by_path.remove(&oldest);
        }
        peer.paths.push(path);
        self.by_path.insert(path, key);
    }

    /// Takes a path away from a peer. Returns whether it was the peer's.
    pub fn remove_path(&mut self, key: PeerKey, path: &Path) -> bool {
        if self.by_path.get(path) != Some(&key) {
            return false;
        }
        self.by_path.remove(path);
        if let Some(peer) = self.peers.get_mut(key.index as usize) {
            peer.paths.retain(|known| known != path);
        }
        true
    }

    /// Removes a peer and all that leads to it. Returns the paths that were its own.
    pub fn remove(&mut self, key: PeerKey) -> SmallVec<[Path; 2]> {
        if self.get(key).is_none() {
            return SmallVec::new();
        }
        let peer = self.peers.remove(key.index as usize);
        for ufrag in &peer.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        for path in &peer.paths {
            self.by_path.remove(path);
        }
        peer.paths
    }

    /// What is kept for a peer; `None` once it is gone.
    pub fn get(&self, key: PeerKey) -> Option<&T> {
        let peer = self.peers.get(key.index as usize)?;
        (peer.key == key).then_some(&peer.value)
    }

    /// What is kept for a peer, to change it.
    pub fn get_mut(&mut self, key: PeerKey) -> Option<&mut T> {
        let peer = self.peers.get_mut(key.index as usize)?;
        (peer.key == key).then_some(&mut peer.value)
    }

    /// Whom a ufrag belongs to.
    pub fn by_ufrag(&self, ufrag: &str) -> Option<PeerKey> {
        self.by_ufrag.get(ufrag).copied()
    }

    /// Whom a path belongs to.
    pub fn by_path(&self, path: &Path) -> Option<PeerKey> {
        self.by_path.get(path).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    fn path(port: u16) -> Path {
        Path::Udp(std::net::SocketAddr::from(([192, 0, 2, 1], port)))
    }

    impl<T> Routes<T> {
        fn check(&self) {
            let paths: usize = self.peers.iter().map(|(_, peer)| peer.paths.len()).sum();
            let ufrags: usize = self.peers.iter().map(|(_, peer)| peer.ufrags.len()).sum();
            assert_eq!((paths, ufrags), (self.by_path.len(), self.by_ufrag.len()));
            for key in self.by_path.values().chain(self.by_ufrag.values()) {
                assert!(self.get(*key).is_some(), "a route leads to nobody");
            }
        }
    }

    #[test]
    fn nothing_leads_to_a_peer_that_has_gone() {
        let mut routes = Routes::new(2);
        let first = routes.add("aaaa", 1).unwrap();
        routes.add_path(first, path(1));
        routes.add_path(first, path(2));
        routes.add_ufrag(first, "bbbb");
        assert_eq!(routes.remove(first).as_slice(), [path(1), path(2)]);
        assert_eq!((routes.by_ufrag("aaaa"), routes.by_ufrag("bbbb")), (None, None));
        assert_eq!((routes.by_path(&path(1)), routes.get(first)), (None, None));
        let second = routes.add("aaaa", 2).unwrap();
        assert_eq!(second.index, first.index);
        assert_ne!(second, first, "an old key never means a new peer");
        routes.add_path(first, path(1));
        routes.add_ufrag(first, "cccc");
        assert!(routes.remove(first).is_empty());
        routes.check();
        assert_eq!((routes.by_path(&path(1)), routes.len()), (None, 1));
    }

    #[test]
    fn a_full_table_and_a_taken_ufrag_are_refused() {
        let mut routes = Routes::new(2);
        routes.add("aaaa", ()).unwrap();
        assert_eq!(routes.add("aaaa", ()), Err(AddPeerError::UfragTaken));
        routes.add("bbbb", ()).unwrap();
        assert_eq!(routes.add("cccc", ()), Err(AddPeerError::Full));
        routes.check();
    }

    #[test]
    fn a_path_belongs_to_whom_it_was_routed_to_last() {
        let mut routes = Routes::new(2);
        let (a, b) = (routes.add("aaaa", ()).unwrap(), routes.add("bbbb", ()).unwrap());
        routes.add_path(a, path(1));
        routes.add_path(b, path(1));
        assert_eq!(routes.by_path(&path(1)), Some(b));
        assert!(!routes.remove_path(a, &path(1)));
        assert!(routes.remove(a).is_empty());
        assert_eq!(routes.by_path(&path(1)), Some(b));
        routes.check();
    }

    #[test]
    fn a_restart_that_overtakes_another_leaves_the_ufrag_in_use() {
        let mut routes = Routes::new(2);
        let peer = routes.add("used", ()).unwrap();
        routes.add_ufrag(peer, "lost");
        routes.add_ufrag(peer, "next");
        let led_to = |routes: &Routes<()>| ["used", "lost", "next"].map(|ufrag| routes.by_ufrag(ufrag));
        assert_eq!(led_to(&routes), [Some(peer), None, Some(peer)]);
        routes.use_ufrag(peer, "next");
        assert_eq!(led_to(&routes), [None, None, Some(peer)]);
        routes.add_ufrag(peer, "used");
        // What the peer said before it heard of the last restart.
        routes.use_ufrag(peer, "lost");
        assert_eq!(led_to(&routes), [Some(peer), Some(peer), None]);
        routes.check();
    }

    proptest! {
        #[test]
        fn both_tables_always_agree_and_stay_bounded(steps in proptest::collection::vec((0u8..6, 0usize..4, 0u16..40), 0..400)) {
            let mut routes = Routes::new(4);
            let mut keys = Vec::new();
            for (n, (step, which, number)) in steps.into_iter().enumerate() {
                let key = keys.get(which).copied().unwrap_or(PeerKey { index: 9, generation: 9 });
                match step {
                    0 => keys.extend(routes.add(&format!("{n}"), n)),
                    1 => routes.add_path(key, path(number)),
                    2 => routes.add_ufrag(key, &format!("u{number}")),
                    4 => routes.use_ufrag(key, &format!("u{number}")),
                    3 => { routes.remove_path(key, &path(number)); }
                    _ => {
                        routes.remove(key);
                        keys.retain(|known| *known != key);
                    }
                }
                routes.check();
                prop_assert!(routes.by_path.len() <= 4 * PATHS_CAPACITY);
                prop_assert!(routes.by_ufrag.len() <= 4 * UFRAGS_CAPACITY);
            }
        }
    }
}
