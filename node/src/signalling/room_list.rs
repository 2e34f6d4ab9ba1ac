//! The list of all rooms as it was within the last second: to make it, every room is asked, and each home page looks every
//! other second, whoever it belongs to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::problem::Problem;
use crate::room::RoomReport;

/// How old the list may be: half of what pages wait between two looks.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The list, and when it was made.
#[derive(Debug, Default)]
pub struct RoomList(Mutex<Option<(Instant, Arc<[RoomReport]>)>>);

impl RoomList {
    /// The list at `now`; `ask` makes a new one if it is too old. Whoever comes meanwhile waits for that one, so rooms are
    /// asked once a second however many look.
    pub async fn at(
        &self,
        now: Instant,
        ask: impl Future<Output = Result<Vec<RoomReport>, Problem>>,
    ) -> Result<Arc<[RoomReport]>, Problem> {
        let mut kept = self.0.lock().await;
        if let Some((made, rooms)) = &*kept
            && now.saturating_duration_since(*made) < MAX_AGE
        {
            return Ok(Arc::clone(rooms));
        }
        let rooms: Arc<[RoomReport]> = ask.await?.into();
        *kept = Some((now, Arc::clone(&rooms)));
        Ok(rooms)
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
            let (list, asked, start) = (RoomList::default(), Cell::new(0), crate::actor::now());
            let look = async |after_ms| {
                let ask = async {
                    asked.set(asked.get() + 1);
                    tokio::task::yield_now().await;
                    Ok(Vec::new())
                };
                list.at(start + Duration::from_millis(after_ms), ask).await.unwrap();
                asked.get()
            };
            assert_eq!(tokio::join!(look(0), look(0), look(10)), (1, 1, 1));
            assert_eq!(look(999).await, 1);
            assert_eq!(look(1_000).await, 2);
            let refused = list.at(start + MAX_AGE * 3, async { Err(Problem::NotFound) }).await;
            assert!(refused.is_err(), "what is old is not shown for what is");
        });
    }
}
