//! What is in rooms as it was a moment ago. Each home page and each page that waits for a stream asks every other second; to
//! answer, rooms and shards are asked in turn, so however many look, they are asked seldom.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aforo_cluster::id::RoomName;
use tokio::sync::Mutex as AsyncMutex;

use super::problem::Problem;
use crate::room::RoomReport;

/// How old the list of all rooms may be: half of what pages wait between two looks.
const LIST_MAX_AGE: Duration = Duration::from_secs(1);

/// How old one room may be: its page shows its figures, and asks as often.
const ROOM_MAX_AGE: Duration = Duration::from_millis(500);

/// Rooms that are kept, of those that somebody looked at within their age. Full means: what is old goes, and if nothing is,
/// the next room is asked for each who looks. Each may have some ten kilobytes.
const ROOMS_KEPT_CAPACITY: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub struct RoomReports {
    all: Kept<[RoomReport]>,
    rooms: Mutex<HashMap<RoomName, Looked>>,
}

/// One room, and when somebody looked at it last.
#[derive(Debug)]
struct Looked {
    at: Instant,
    kept: Arc<Kept<RoomReport>>,
}

/// One answer, and when it was made.
#[derive(Debug)]
struct Kept<T: ?Sized>(AsyncMutex<Option<(Instant, Arc<T>)>>);

impl<T: ?Sized> Default for Kept<T> {
    fn default() -> Self {
        Self(AsyncMutex::new(None))
    }
}

impl<T: ?Sized> Kept<T> {
    /// The answer, made anew by `ask` if it is older than `max_age` or `stale`. Whoever comes meanwhile waits for that one.
    async fn at<N: Into<Arc<T>>>(
        &self,
        now: Instant,
        max_age: Duration,
        stale: impl Fn(&T) -> bool,
        ask: impl Future<Output = Result<N, Problem>>,
    ) -> Result<Arc<T>, Problem> {
        let mut kept = self.0.lock().await;
        if let Some((made, answer)) = &*kept
            && now.saturating_duration_since(*made) < max_age
            && !stale(answer)
        {
            return Ok(Arc::clone(answer));
        }
        let answer: Arc<T> = ask.await?.into();
        *kept = Some((now, Arc::clone(&answer)));
        Ok(answer)
    }
}

impl RoomReports {
    /// All rooms, within the last second.
    ///
    /// # Errors
    ///
    /// Those of `ask`.
    pub async fn all(
        &self,
        now: Instant,
        ask: impl Future<Output = Result<Vec<RoomReport>, Problem>>,
    ) -> Result<Arc<[RoomReport]>, Problem> {
        self.all.at(now, LIST_MAX_AGE, |_| false, ask).await
    }

    /// One room, within the last half second. Whether it is live is never old: who waits for that would wait longer.
    ///
    /// # Errors
    ///
    /// Those of `ask`.
    pub async fn room(
        &self,
        now: Instant,
        room: &RoomName,
        live: bool,
        ask: impl Future<Output = Result<RoomReport, Problem>>,
    ) -> Result<Arc<RoomReport>, Problem> {
        let kept = self.kept(now, room);
        kept.at(now, ROOM_MAX_AGE, |report| report.live != live, ask).await
    }

    /// Where the room is kept, or a place for this once.
    fn kept(&self, now: Instant, room: &RoomName) -> Arc<Kept<RoomReport>> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |at: Instant| now.saturating_duration_since(at) >= ROOM_MAX_AGE;
        if rooms.len() >= ROOMS_KEPT_CAPACITY && !rooms.contains_key(room) {
            rooms.retain(|_, looked| !is_old(looked.at));
            if rooms.len() >= ROOMS_KEPT_CAPACITY {
                return Arc::default();
            }
        }
        let looked = rooms.entry(room.clone()).or_insert_with(|| Looked { at: now, kept: Arc::default() });
        looked.at = now;
        Arc::clone(&looked.kept)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::cell::Cell;

    use super::*;
    use crate::actor::virtual_time;

    #[test]
    fn rooms_are_asked_once_a_second_however_many_look() {
        virtual_time::run(async {
            let (reports, asked, start) = (RoomReports::default(), Cell::new(0), crate::actor::now());
            let look = async |after_ms| {
                let ask = async {
                    asked.set(asked.get() + 1);
                    tokio::task::yield_now().await;
                    Ok(Vec::new())
                };
                reports.all(start + Duration::from_millis(after_ms), ask).await.unwrap();
                asked.get()
            };
            assert_eq!(tokio::join!(look(0), look(0), look(10)), (1, 1, 1));
            assert_eq!(look(999).await, 1);
            assert_eq!(look(1_000).await, 2);
            let refused = reports.all(start + LIST_MAX_AGE * 3, async { Err(Problem::NotFound) }).await;
            assert!(refused.is_err(), "what is old is not shown for what is");
        });
    }

    #[test]
    fn one_room_is_asked_twice_a_second_and_whenever_it_comes_or_goes() {
        virtual_time::run(async {
            let (reports, asked, start) = (RoomReports::default(), Cell::new(0), crate::actor::now());
            let look = async |room: &str, after_ms, live| {
                let room: RoomName = room.parse().unwrap();
                let report = RoomReport { live, ..RoomReport::idle(room.clone()) };
                let ask = async {
                    asked.set(asked.get() + 1);
                    Ok(report)
                };
                let at = start + Duration::from_millis(after_ms);
                assert_eq!(reports.room(at, &room, live, ask).await.unwrap().live, live);
                asked.get()
            };
            assert_eq!((look("a", 0, false).await, look("a", 499, false).await), (1, 1));
            assert_eq!(look("b", 0, false).await, 2, "another room");
            assert_eq!(look("a", 499, true).await, 3, "it has gone live");
            assert_eq!((look("a", 998, true).await, look("a", 999, true).await), (3, 4));
        });
    }

    #[test]
    fn so_many_rooms_are_kept_and_no_more() {
        let (reports, start) = (RoomReports::default(), crate::actor::now());
        let look = |number: usize, now| reports.kept(now, &format!("room-{number}").parse().unwrap());
        let kept = || reports.rooms.lock().unwrap().len();
        (0..ROOMS_KEPT_CAPACITY * 2).for_each(|number| drop(look(number, start)));
        assert_eq!(kept(), ROOMS_KEPT_CAPACITY);
        look(ROOMS_KEPT_CAPACITY * 3, start + ROOM_MAX_AGE);
        assert_eq!(kept(), 1, "what is old makes room");
    }
}
