//! The tables: one of ratios and other results with their bars, one of what each cell did.

use crate::load::Measurement;
use crate::machine;
use crate::statistics::Spread;

/// Cores of other work above which a result is marked.
const TOO_MUCH: f64 = 0.15;

/// What a result must reach.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

/// One result.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// `×` for a ratio.
    pub unit: &'static str,
    /// Over the rounds.
    pub spread: Spread,
    /// How many rounds.
    pub rounds: usize,
    /// What it must reach, if anything.
    pub bar: Option<Bar>,
    /// Cores that other work used, in the median round; `None` where other processes are part of what is measured.
    pub other_load: Option<f64>,
    /// Answers that were not as they should be, with the first of them.
    pub errors: u64,
    /// What sent the load.
    pub by: &'static str,
}

/// What one server did under one load, over the rounds.
pub struct Done {
    pub label: String,
    pub rounds: Vec<Measurement>,
}

/// Everything that was found.
#[derive(Default)]
pub struct Report {
    pub rows: Vec<Row>,
    pub done: Vec<Done>,
}

impl Bar {
    /// Whether `value` reaches it.
    pub fn is_reached(self, value: f64) -> bool {
        self.margin(value) >= 1.0
    }

    /// How many times better than asked for `value` is; below 1 it misses.
    pub fn margin(self, value: f64) -> f64 {
        match self {
            Self::AtLeast(bar) => value / bar,
            // None at all is as good as it gets.
            Self::AtMost(0.0) => {
                if value <= 0.0 {
                    f64::INFINITY
                } else {
                    0.0
                }
            }
            Self::AtMost(bar) => bar / value,
        }
    }

    /// As people write it.
    pub fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(bar) => format!("≥ {}", number(bar, unit)),
            Self::AtMost(bar) => format!("≤ {}", number(bar, unit)),
        }
    }
}

impl Row {
    /// `1.62× (1.58 – 1.66)`
    pub fn measured(&self) -> String {
        let Spread { median, least, most } = self.spread;
        format!("{} ({} – {})", number(median, self.unit), number(least, ""), number(most, ""))
    }

    fn verdict(&self) -> &'static str {
        match self.bar {
            Some(bar) if bar.is_reached(self.spread.median) => "PASS",
            Some(_) => "MISS",
            None => "",
        }
    }

    fn other(&self) -> String {
        match self.other_load {
            Some(load) if load > TOO_MUCH => format!("{load:.2} (!)"),
            Some(load) => format!("{load:.2}"),
            None => "–".to_owned(),
        }
    }
}

impl Report {
    /// Prints everything, as Markdown.
    pub fn print(&self) {
        println!("\nOn {}; medians of rounds, in brackets the least and the most of them.", machine::processor());
        println!("Other load = cores used by neither server nor generator; above {TOO_MUCH} it is marked (!).\n");
        let header = ["what", "measured", "bar", "", "rounds", "errors", "other load", "load by"];
        let rows = self.rows.iter().map(|row| {
            let bar = row.bar.map(|bar| bar.text(row.unit)).unwrap_or_default();
            let (rounds, errors) = (row.rounds.to_string(), row.errors.to_string());
            [
                row.what.clone(),
                row.measured(),
                bar,
                row.verdict().to_owned(),
                rounds,
                errors,
                row.other(),
                row.by.to_owned(),
            ]
        });
        print_table(&header, &rows.collect::<Vec<_>>());
        let header =
            ["cell", "calls/s", "verifies/s", "p50 µs", "p99 µs", "server CPU µs/verify", "bytes/answer", "errors"];
        print_table(&header, &self.done.iter().map(Done::line).collect::<Vec<_>>());
        for done in &self.done {
            if let Some(error) = done.rounds.iter().find_map(|round| round.first_error.as_ref()) {
                println!("First error of {}: {error}", done.label);
            }
        }
    }
}

impl Done {
    fn line(&self) -> [String; 8] {
        let median = |value: fn(&Measurement) -> f64, unit| {
            let spread = Spread::of(self.rounds.iter().map(value));
            spread.map_or_else(|| "–".to_owned(), |spread| number(spread.median, unit))
        };
        [
            self.label.clone(),
            median(Measurement::call_rate, ""),
            median(Measurement::verify_rate, ""),
            median(|round| round.p50, ""),
            median(|round| round.p99, ""),
            median(Measurement::server_cpu_per_verify, ""),
            median(|round| round.answer_bytes, ""),
            self.rounds.iter().map(|round| round.errors).sum::<u64>().to_string(),
        ]
    }
}

/// With as many digits as mean something.
fn number(value: f64, unit: &str) -> String {
    let space = if unit.is_empty() || unit == "×" { "" } else { " " };
    let text = match value.abs() {
        size if size >= 1_000.0 => thousands(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    format!("{text}{space}{unit}")
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 && digit.is_ascii_digit() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn print_table<const COLUMNS: usize>(header: &[&str; COLUMNS], rows: &[[String; COLUMNS]]) {
    if rows.is_empty() {
        return;
    }
    let header = header.map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&header]).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(3)
    };
    let print = |row: &[String; COLUMNS]| {
        let cells: Vec<String> = (0..COLUMNS).map(|column| format!("{:<1$}", row[column], width(column))).collect();
        println!("| {} |", cells.join(" | "));
    };
    print(&header);
    print(&std::array::from_fn(|column| "-".repeat(width(column))));
    rows.iter().for_each(print);
    println!();
}
