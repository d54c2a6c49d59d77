//! The oracle: whether an answer may have been given, from what was changed when. Pure; it knows no service.

use std::collections::HashMap;

use claviger::proto::v1::Verdict;

/// Microseconds since the log began.
pub type Moment = i64;

pub const SECOND: Moment = 1_000_000;
/// From an outage's end until every replica follows again.
pub const HEALED: Moment = 5 * SECOND;
/// How wrong a replica's `as_of` may be: it measures the database's clock by round trips of up to a second.
const CLOCK_SLACK: Moment = 600_000;
/// A look that begins just before an outage, and a machine that is busy.
const SLACK: Moment = 1_500_000;

/// What a call of Verify is given; on a busy machine even one that needs no look may take longer.
const DEADLINE: Moment = 240_000;

/// What makes a key not valid, in the order in which a verdict names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    Absent,
    Revoked,
    OwnerDisabled,
    Disabled,
    /// It lacks the scope that is asked for.
    Narrowed,
}

const FLAWS: [(Flaw, Verdict); 5] = [
    (Flaw::Absent, Verdict::Unknown),
    (Flaw::Revoked, Verdict::Revoked),
    (Flaw::OwnerDisabled, Verdict::OwnerDisabled),
    (Flaw::Disabled, Verdict::Disabled),
    (Flaw::Narrowed, Verdict::ScopeMissing),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    Key(usize),
    Owner(usize),
}

/// One flaw came or went at some moment from `start` to `end`. Those of one subject are in order and don't overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub subject: Subject,
    pub flaw: Flaw,
    pub comes: bool,
    pub start: Moment,
    /// `None`: perhaps never, perhaps at any time since.
    pub end: Option<Moment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// With `as_of`.
    Verdict(Verdict, Moment),
    /// The reason.
    Error(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub replica: usize,
    /// `None`: a well-formed secret that nobody made.
    pub key: Option<usize>,
    pub asks_scope: bool,
    pub start: Moment,
    pub end: Moment,
    pub heard: Heard,
}

/// A time in which a replica can't reach the database, or is itself stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// `None`: all of them.
    pub replica: Option<usize>,
    pub from: Moment,
    pub until: Moment,
    /// The replica doesn't run; then no older answers are allowed, only fewer.
    pub is_stop: bool,
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// While the replica reaches the database.
    pub reachable: Moment,
    /// While it doesn't.
    pub staleness: Moment,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub struct Log {
    pub changes: Vec<Change>,
    pub answers: Vec<Answer>,
    pub troubles: Vec<Trouble>,
    /// The owner of each key.
    pub owners: HashMap<usize, usize>,
}

/// From and to, both included.
type Span = (Moment, Moment);

/// A log that can be asked about each subject.
pub struct Oracle<'a> {
    log: &'a Log,
    bounds: Bounds,
    changes: HashMap<(Subject, Flaw), Vec<Change>>,
}

impl<'a> Oracle<'a> {
    pub fn new(log: &'a Log, bounds: Bounds) -> Self {
        let mut changes: HashMap<(Subject, Flaw), Vec<Change>> = HashMap::new();
        for change in &log.changes {
            changes.entry((change.subject, change.flaw)).or_default().push(*change);
        }
        Self { log, bounds, changes }
    }

    /// Every wrong answer, and why.
    pub fn wrong(&self) -> Vec<(&'a Answer, String)> {
        self.log.answers.iter().filter_map(|answer| Some((answer, self.fault(answer)?))).collect()
    }

    /// Why this answer is wrong.
    pub fn fault(&self, answer: &Answer) -> Option<String> {
        match &answer.heard {
            Heard::Error(reason) => self.fault_of_error(answer, reason),
            Heard::Verdict(verdict, as_of) => self.fault_of_verdict(answer, *verdict, *as_of),
        }
    }

    fn fault_of_verdict(&self, answer: &Answer, verdict: Verdict, as_of: Moment) -> Option<String> {
        if as_of > answer.end + CLOCK_SLACK {
            return Some(format!("as of the future: {as_of}"));
        }
        if as_of < answer.start - self.bounds.staleness - CLOCK_SLACK {
            return Some(format!("older than the bound: as of {as_of}"));
        }
        // Absence is never from memory: a key that was acknowledged before the question isn't unknown.
        let from = match verdict {
            Verdict::Unknown => answer.start,
            _ => self.oldest(answer).max(as_of - CLOCK_SLACK).min(answer.start),
        };
        let Some(states) = states_of(verdict, answer.asks_scope) else { return Some("never".to_owned()) };
        let mut possible = vec![(from, answer.end)];
        for (flaw, present) in states {
            possible = meet(&possible, &self.spans(answer.key, flaw, present));
        }
        possible.is_empty().then(|| format!("not {verdict:?} at any moment since {from}"))
    }

    fn fault_of_error(&self, answer: &Answer, reason: &str) -> Option<String> {
        let looks = || self.may_be_missing(answer);
        let allowed = match reason {
            "STALE" => self.troubles_of(answer).any(|it| {
                // Who wakes may say so until it has looked.
                let wakes = it.is_stop && it.until - it.from >= 2 * SECOND && answer.start <= it.until + SECOND;
                wakes || it.from + self.bounds.staleness - SLACK <= answer.end
            }),
            "STORE_UNAVAILABLE" => looks(),
            "DEADLINE_EXCEEDED" => answer.end - answer.start >= DEADLINE,
            _ => false,
        };
        (!allowed).then(|| format!("no reason for {reason}"))
    }

    /// Whether the replica may have to look at the database for this secret.
    fn may_be_missing(&self, answer: &Answer) -> bool {
        !meet(&[(self.oldest(answer), answer.end)], &self.spans(answer.key, Flaw::Absent, true)).is_empty()
    }

    /// Troubles that this answer may suffer from.
    fn troubles_of(&self, answer: &Answer) -> impl Iterator<Item = &Trouble> {
        let (replica, start, end) = (answer.replica, answer.start, answer.end);
        let concerns = move |it: &&Trouble| it.replica.is_none_or(|of| of == replica);
        self.log.troubles.iter().filter(concerns).filter(move |it| it.from <= end && start <= it.until + HEALED)
    }

    /// The earliest moment whose truth this answer may tell.
    fn oldest(&self, answer: &Answer) -> Moment {
        let mut from = answer.start - self.bounds.reachable;
        let earliest = answer.start - self.bounds.staleness - CLOCK_SLACK;
        // The latest first: a replica that didn't recover in between is as old as the one before.
        for trouble in self.log.troubles.iter().rev().filter(|trouble| !trouble.is_stop) {
            let concerns = trouble.replica.is_none_or(|of| of == answer.replica);
            if concerns && trouble.from <= answer.end && from <= trouble.until + HEALED {
                from = from.min(trouble.from - self.bounds.reachable).max(earliest.min(from));
            }
        }
        from
    }

    /// When this flaw was possibly there, or possibly not.
    fn spans(&self, key: Option<usize>, flaw: Flaw, present: bool) -> Vec<Span> {
        let initially = flaw == Flaw::Absent;
        let always = |holds: bool| if holds { vec![(Moment::MIN, Moment::MAX)] } else { Vec::new() };
        let Some(key) = key else { return always(initially == present) };
        let subject = match flaw {
            Flaw::OwnerDisabled => Subject::Owner(self.log.owners[&key]),
            _ => Subject::Key(key),
        };
        let Some(changes) = self.changes.get(&(subject, flaw)) else { return always(initially == present) };
        let until = |rest: &[Change]| {
            let other = rest.iter().filter(|change| change.comes != present);
            other.filter_map(|change| change.end).next().unwrap_or(Moment::MAX)
        };
        let mut spans = Vec::new();
        if initially == present {
            spans.push((Moment::MIN, until(changes)));
        }
        for (number, change) in changes.iter().enumerate().filter(|(_, change)| change.comes == present) {
            spans.push((change.start, until(&changes[number + 1..])));
        }
        spans
    }
}

/// Which flaws must be there and not there for a verdict. `None`: it can never be one.
fn states_of(verdict: Verdict, asks_scope: bool) -> Option<Vec<(Flaw, bool)>> {
    let flaws = &FLAWS[..if asks_scope { FLAWS.len() } else { FLAWS.len() - 1 }];
    if verdict == Verdict::Valid {
        return Some(flaws.iter().map(|(flaw, _)| (*flaw, false)).collect());
    }
    let place = flaws.iter().position(|(_, says)| *says == verdict)?;
    Some(flaws[..=place].iter().enumerate().map(|(number, (flaw, _))| (*flaw, number == place)).collect())
}

/// What is in both.
fn meet(some: &[Span], others: &[Span]) -> Vec<Span> {
    let both = |a: &Span, b: &Span| (a.0.max(b.0), a.1.min(b.1));
    let pairs = some.iter().flat_map(|a| others.iter().map(move |b| both(a, b)));
    pairs.filter(|span| span.0 <= span.1).collect()
}

/// The longest time from the acknowledgement of what is for ever to the start of a later call that still heard VALID.
pub fn longest_late_valid(log: &Log) -> Moment {
    let mut ended: HashMap<usize, Moment> = HashMap::new();
    for change in &log.changes {
        if let (Subject::Key(key), true, Flaw::Revoked | Flaw::Absent, Some(end)) =
            (change.subject, change.comes, change.flaw, change.end)
        {
            ended.entry(key).and_modify(|first| *first = end.min(*first)).or_insert(end);
        }
    }
    let late = |answer: &Answer| match answer.heard {
        Heard::Verdict(Verdict::Valid, _) => Some(answer.start - *ended.get(&answer.key?)?),
        _ => None,
    };
    log.answers.iter().filter_map(late).max().unwrap_or(0).max(0)
}
