//! The attacks of `gauntlet-modern` against what their authors' code gave on the tiny network (see
//! `fixtures/golden/README.md`), and against known optima.

mod bounded;
mod golden;
mod library;
mod optima;
mod primitives;
mod smallest;
mod transfer;
