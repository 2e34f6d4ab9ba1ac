//! One media arbiter: an actor, its sockets, and the plane between them.
