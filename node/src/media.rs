//! The data plane: from a datagram of a publisher to the datagrams of all who watch it.
//!
//! Plain data and pure functions. Nothing in here knows an actor, a lock, a socket, a clock or a task; time comes in
//! as an argument and randomness through a seed, so a test drives it on virtual time.

pub mod allocation;
pub mod batch;
pub mod canonical;
pub mod codec;
pub mod counters;
pub mod demux;
pub mod estimate;
pub mod extension;
pub mod fast_start;
pub mod gather;
pub mod hearing;
pub mod keys;
pub mod leg;
pub mod loss_watch;
pub mod negotiated;
pub mod numbering;
pub mod outbox;
pub mod path;
pub mod plane;
pub mod rate;
pub mod reception;
pub mod ring;
pub mod rtcp;
pub mod rtp;
pub mod selection;
pub mod spec;
pub mod srtp;
pub mod subscription;
pub mod template;
pub mod twcc;
