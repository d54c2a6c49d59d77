//! Many rows, and rows that break the rules: what the statements of warnings cost, and that one row never blocks others.

pub mod bulk;
mod cost;
mod plans;
mod poison;
mod statements;
