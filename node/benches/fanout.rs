//! Cost of one packet for one viewer.
fn main() {}
