//! A fault on order: makes an actor panic inside a handler, as a mistake of ours would.

use actix::Message;

/// Panic. An actor takes it where its tests say [`can_panic!`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Panic;

/// Lets an actor take [`Panic`].
macro_rules! can_panic {
    ($actor:ty) => {
        impl actix::Handler<$crate::actor::fault::Panic> for $actor {
            type Result = ();

            fn handle(&mut self, _: $crate::actor::fault::Panic, _: &mut Self::Context) {
                panic!("a fault for the test");
            }
        }
    };
}

pub(crate) use can_panic;
