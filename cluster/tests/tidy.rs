//! The rules of the house that a machine can check: sizes, forbidden words, names, metrics, crate edges.
//!
//! Each rule is a test of its own, so that a failure says which rule and lists every offence with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "tidy/edges.rs"]
mod edges;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/purity.rs"]
mod purity;
#[path = "tidy/size.rs"]
mod size;
#[path = "tidy/source.rs"]
mod source;
