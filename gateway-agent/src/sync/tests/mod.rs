//! Rounds in a simulation, where every case is cheap, and a few live ones that show that the loop around them holds.

mod conformance;
mod imports;
mod live;
mod membership;
mod restore;
mod simulation;
