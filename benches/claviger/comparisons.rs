//! Which servers are compared under which loads, and what the ratios must reach.

use crate::load::{Measurement, Method, Secrets, Shape};
use crate::report::Bar;
use crate::server::Cores;

/// A group of cells that are measured together, each once a round: those that have a cell in common, one after the other.
pub struct Comparison {
    /// What `cargo bench --bench claviger NAME` chooses it by.
    pub name: &'static str,
    pub cells: Vec<Cell>,
    pub ratios: Vec<Ratio>,
}

/// One server under one load.
pub struct Cell {
    pub label: String,
    pub server: Kind,
    pub cores: Cores,
    pub shape: Shape,
}

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The service with this many keys.
    Claviger(Size),
    /// The same, run by the program that the empty handlers are in.
    ClavigerHere(Size),
    /// The service with the few keys and this tracing.
    Traced(Tracing),
    /// The empty handler on the service's kind of server.
    OurShape,
    /// The empty handler on tonic as it comes.
    DefaultTonic,
}

/// How many keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// 1,000.
    Few,
    /// 1,000,000, or 100,000 in a quick run.
    Many,
}

/// What is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tracing {
    Off,
    OnePercent,
    Full,
}

/// What one cell has more or less of than another.
pub struct Ratio {
    pub what: String,
    pub cell: usize,
    pub of: usize,
    pub figure: fn(&Measurement) -> f64,
    pub bar: Option<Bar>,
}

/// The loads of every comparison: connections, calls in flight on each.
const LOADS: [(usize, usize); 3] = [(1, 1), (1, 10), FULL];
/// The load that bars are about.
const FULL: (usize, usize) = (4, 25);

/// All of them.
pub fn all() -> Vec<Comparison> {
    vec![default_tonic(), our_shape(), check(), amortised(), tracing()]
}

impl Tracing {
    /// The service's settings for it, given where a collector listens.
    pub fn settings(self, collector: &str) -> Vec<(String, String)> {
        let ratio = match self {
            Self::Off => return Vec::new(),
            Self::OnePercent => "0.01",
            Self::Full => "1",
        };
        let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector), ("CLAVIGER_TRACE_RATIO", ratio)];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

fn default_tonic() -> Comparison {
    let (mut cells, mut ratios) = (Vec::new(), Vec::new());
    for load in LOADS {
        let of = cells.len();
        let name = name_of(load);
        cells.push(cell("empty on default tonic", Kind::DefaultTonic, Cores::Both, verify(load, Secrets::Random)));
        for (what, size) in [("many keys", Size::Many), ("1,000 keys", Size::Few)] {
            let at = cells.len();
            let label = format!("Verify, {what}");
            cells.push(cell(&label, Kind::Claviger(size), Cores::Both, verify(load, Secrets::Random)));
            let bar = (load == FULL && size == Size::Many).then_some(Bar::AtLeast(1.5));
            ratios.push(throughput(&format!("{label} / empty on default tonic, both cores, {name}"), at, of, bar));
            ratios.push(p99(&format!("p99 of {label} / empty on default tonic, both cores, {name}"), at, of, None));
        }
    }
    Comparison { name: "default-tonic", cells, ratios }
}

fn our_shape() -> Comparison {
    let (mut cells, mut ratios) = (Vec::new(), Vec::new());
    let questions = [
        ("many keys at random", Size::Many, Secrets::Random, 0.85),
        ("one hot key", Size::Many, Secrets::Hot, 0.95),
        ("1,000 keys at random", Size::Few, Secrets::Random, 0.85),
    ];
    for load in LOADS {
        let (of, name) = (cells.len(), name_of(load));
        cells.push(cell("empty on our server", Kind::OurShape, Cores::One, verify(load, Secrets::Random)));
        for (what, size, secrets, bar) in questions {
            let (at, label) = (cells.len(), format!("Verify, {what}"));
            cells.push(cell(&label, Kind::ClavigerHere(size), Cores::One, verify(load, secrets)));
            let against = |label: &str| format!("{label} / empty on our server, one core, {name}");
            let is_barred = load == FULL && size == Size::Many;
            ratios.push(throughput(&against(&label), at, of, is_barred.then_some(Bar::AtLeast(bar))));
            ratios.push(p50(&format!("p50 of {}", against(&label)), at, of, None));
            ratios.push(p99(&format!("p99 of {}", against(&label)), at, of, is_barred.then_some(Bar::AtMost(1.25))));
            if is_barred {
                // The same code, but inlined and laid out as that program's linker likes it.
                let label = format!("{label}, by the service's own program");
                ratios.push(throughput(&against(&label), cells.len(), of, None));
                cells.push(cell(&label, Kind::Claviger(size), Cores::One, verify(load, secrets)));
            }
        }
    }
    Comparison { name: "our-server", cells, ratios }
}

fn check() -> Comparison {
    let shape = |secrets| Shape { method: Method::Check, ..verify(FULL, secrets) };
    let server = Kind::ClavigerHere(Size::Many);
    let cells = vec![
        cell("empty Check on our server", Kind::OurShape, Cores::One, shape(Secrets::Random)),
        cell("Check, many keys at random", server, Cores::One, shape(Secrets::Random)),
        cell("Check, one hot key", server, Cores::One, shape(Secrets::Hot)),
    ];
    let against = |what: &str| format!("Check, {what} / empty Check on our server, one core, 4x25");
    let ratios = vec![
        throughput(&against("many keys at random"), 1, 0, Some(Bar::AtLeast(0.8))),
        throughput(&against("one hot key"), 2, 0, Some(Bar::AtLeast(0.8))),
        p99(&format!("p99 of {}", against("many keys at random")), 1, 0, None),
    ];
    Comparison { name: "check", cells, ratios }
}

fn amortised() -> Comparison {
    let server = Kind::Claviger(Size::Many);
    let shape = |method, in_flight| Shape { method, in_flight, ..verify(FULL, Secrets::Random) };
    // Two batches in flight on each of four connections are 800 questions, eight times what Verify has.
    let cells = vec![
        cell("Verify, many keys", server, Cores::One, shape(Method::Verify, FULL.1)),
        cell("VerifyStream, many keys", server, Cores::One, shape(Method::VerifyStream, FULL.1)),
        cell("BatchVerify(100), many keys", server, Cores::One, shape(Method::BatchVerify, 2)),
    ];
    let ratios = vec![
        verifies("VerifyStream / Verify, verifies/s, one core, 4x25", 1, 0, Bar::AtLeast(3.0)),
        verifies("BatchVerify(100) / Verify, verifies/s, one core, 4x2", 2, 0, Bar::AtLeast(5.0)),
    ];
    Comparison { name: "amortised", cells, ratios }
}

fn tracing() -> Comparison {
    let variants = [("off", Tracing::Off), ("1 %", Tracing::OnePercent), ("full", Tracing::Full)];
    let cells = variants.map(|(name, tracing)| {
        cell(&format!("Verify, tracing {name}"), Kind::Traced(tracing), Cores::One, verify(FULL, Secrets::Random))
    });
    let ratios = vec![
        throughput("Verify with 1 % traced / with tracing off, one core, 4x25", 1, 0, None),
        throughput("Verify with all traced / with tracing off, one core, 4x25", 2, 0, None),
        p99("p99 of Verify with 1 % traced / with tracing off, one core, 4x25", 1, 0, None),
    ];
    Comparison { name: "tracing", cells: cells.into(), ratios }
}

fn verify((connections, in_flight): (usize, usize), secrets: Secrets) -> Shape {
    Shape { method: Method::Verify, connections, in_flight, secrets, rate: None }
}

fn name_of((connections, in_flight): (usize, usize)) -> String {
    format!("{connections}x{in_flight}")
}

fn cell(label: &str, server: Kind, cores: Cores, shape: Shape) -> Cell {
    let cores_text = match cores {
        Cores::One => "one core",
        Cores::Both => "both cores",
    };
    let label = format!("{label}, {cores_text}, {}", name_of((shape.connections, shape.in_flight)));
    Cell { label, server, cores, shape }
}

fn throughput(what: &str, cell: usize, of: usize, bar: Option<Bar>) -> Ratio {
    Ratio { what: what.to_owned(), cell, of, figure: Measurement::call_rate, bar }
}

fn verifies(what: &str, cell: usize, of: usize, bar: Bar) -> Ratio {
    Ratio { what: what.to_owned(), cell, of, figure: Measurement::verify_rate, bar: Some(bar) }
}

fn p50(what: &str, cell: usize, of: usize, bar: Option<Bar>) -> Ratio {
    Ratio { what: what.to_owned(), cell, of, figure: |measurement| measurement.p50, bar }
}

fn p99(what: &str, cell: usize, of: usize, bar: Option<Bar>) -> Ratio {
    Ratio { what: what.to_owned(), cell, of, figure: |measurement| measurement.p99, bar }
}
