//! The oracle finds what is planted, and leaves what may be.

use claviger::proto::v1::Verdict;

use super::judge::{Answer, Bounds, Change, Flaw, Heard, Log, Moment, Oracle, SECOND, Subject, Trouble};

const BOUNDS: Bounds = Bounds { reachable: 2 * SECOND, staleness: 10 * SECOND };

/// In tenths of a second.
fn at(tenths: Moment) -> Moment {
    tenths * SECOND / 10
}

fn change(subject: Subject, flaw: Flaw, comes: bool, start: Moment, end: Option<Moment>) -> Change {
    Change { subject, flaw, comes, start: at(start), end: end.map(at) }
}

/// Key 0 of owner 0, made at 100 to 101, with these changes.
fn log(further: &[Change]) -> Log {
    let made = change(Subject::Key(0), Flaw::Absent, false, 100, Some(101));
    let changes = std::iter::once(made).chain(further.iter().copied()).collect();
    Log { changes, owners: [(0, 0)].into(), ..Log::default() }
}

/// Replica 1 answers about key 0, with the scope asked for; fresh, or as of `as_of`.
fn answer(start: Moment, end: Moment, verdict: Verdict, as_of: Option<Moment>) -> Answer {
    let heard = Heard::Verdict(verdict, at(as_of.unwrap_or(start)));
    Answer { replica: 1, key: Some(0), asks_scope: true, start: at(start), end: at(end), heard }
}

fn error(start: Moment, reason: &str) -> Answer {
    Answer { heard: Heard::Error(reason.to_owned()), ..answer(start, start + 1, Verdict::Valid, None) }
}

fn is_wrong(log: &Log, answer: &Answer) -> bool {
    Oracle::new(log, BOUNDS).fault(answer).is_some()
}

fn outage(from: Moment, until: Moment) -> Trouble {
    Trouble { replica: None, from: at(from), until: at(until), is_stop: false }
}

#[test]
fn a_verdict_is_right_only_while_it_may_have_been_so() {
    let key = Subject::Key(0);
    let revoked = log(&[change(key, Flaw::Revoked, true, 200, Some(202))]);
    let blinked =
        log(&[change(key, Flaw::Disabled, true, 200, Some(202)), change(key, Flaw::Disabled, false, 300, Some(302))]);
    let narrowed = log(&[change(key, Flaw::Narrowed, true, 200, Some(202))]);
    let deleted = log(&[change(key, Flaw::Absent, true, 200, Some(202))]);
    // An old answer claims to be as of its bound.
    for (log, start, end, verdict, wrong) in [
        (&revoked, 150, 151, Verdict::Valid, false),
        (&revoked, 150, 151, Verdict::Revoked, true),
        (&revoked, 150, 200, Verdict::Revoked, false),
        (&revoked, 222, 223, Verdict::Valid, false),
        (&revoked, 223, 224, Verdict::Valid, true),
        (&revoked, 223, 224, Verdict::Revoked, false),
        (&revoked, 223, 224, Verdict::Unknown, true),
        (&revoked, 223, 224, Verdict::Expired, true),
        (&revoked, 99, 100, Verdict::Valid, false),
        (&revoked, 98, 99, Verdict::Valid, true),
        (&revoked, 98, 99, Verdict::Unknown, false),
        (&revoked, 101, 102, Verdict::Unknown, false),
        (&revoked, 102, 103, Verdict::Unknown, true),
        (&blinked, 250, 251, Verdict::Valid, true),
        (&blinked, 250, 251, Verdict::Disabled, false),
        (&blinked, 322, 323, Verdict::Disabled, false),
        (&blinked, 323, 324, Verdict::Disabled, true),
        (&narrowed, 223, 224, Verdict::Valid, true),
        (&narrowed, 223, 224, Verdict::ScopeMissing, false),
        (&narrowed, 180, 181, Verdict::ScopeMissing, true),
        (&deleted, 199, 200, Verdict::Unknown, false),
        (&deleted, 198, 199, Verdict::Unknown, true),
        (&deleted, 223, 224, Verdict::Valid, true),
    ] {
        let answer = answer(start, end, verdict, Some(start - 20));
        assert_eq!(is_wrong(log, &answer), wrong, "{verdict:?} from {start} to {end}");
    }
    let unasked = Answer { asks_scope: false, ..answer(223, 224, Verdict::Valid, None) };
    assert!(!is_wrong(&narrowed, &unasked));
    assert!(is_wrong(&narrowed, &Answer { heard: Heard::Verdict(Verdict::ScopeMissing, at(223)), ..unasked }));
    let nobodys = Answer { key: None, ..answer(223, 224, Verdict::Valid, None) };
    assert!(is_wrong(&revoked, &nobodys), "nobody made it");
}

#[test]
fn valid_needs_one_moment_at_which_nothing_was_wrong() {
    let owner = |comes, start| change(Subject::Owner(0), Flaw::OwnerDisabled, comes, start, Some(start + 1));
    let revoked = change(Subject::Key(0), Flaw::Revoked, true, 300, Some(301));
    let log = log(&[owner(true, 200), revoked, owner(false, 302)]);
    assert!(
        is_wrong(&log, &answer(304, 305, Verdict::Valid, Some(300))),
        "the owner was disabled until it was revoked"
    );
    assert!(!is_wrong(&log, &answer(304, 305, Verdict::OwnerDisabled, Some(290))));
    assert!(!is_wrong(&log, &answer(304, 305, Verdict::Revoked, None)));
}

#[test]
fn a_change_in_doubt_allows_both_and_nothing_else() {
    let doubt = log(&[change(Subject::Key(0), Flaw::Revoked, true, 200, None)]);
    for (verdict, wrong) in [(Verdict::Valid, false), (Verdict::Revoked, false), (Verdict::Disabled, true)] {
        assert_eq!(is_wrong(&doubt, &answer(900, 901, verdict, None)), wrong, "{verdict:?}");
    }
    assert!(is_wrong(&doubt, &answer(198, 199, Verdict::Revoked, None)));
}

#[test]
fn only_an_outage_of_its_own_makes_a_replica_slow_or_silent() {
    let revoked = change(Subject::Key(0), Flaw::Revoked, true, 300, Some(301));
    let mut log = log(&[revoked]);
    let old = answer(350, 351, Verdict::Valid, Some(290));
    assert!(is_wrong(&log, &old), "it could reach the database");
    log.troubles = vec![outage(290, 400)];
    assert!(!is_wrong(&log, &old));
    assert!(is_wrong(&log, &answer(350, 351, Verdict::Valid, Some(320))), "as_of says that it had looked");
    assert!(is_wrong(&log, &answer(395, 396, Verdict::Valid, Some(280))), "older than the bound");
    assert!(is_wrong(&log, &answer(350, 351, Verdict::Valid, Some(360))), "as of the future");
    for (start, reason, wrong) in [
        (250, "STALE", true),
        (350, "STALE", true),
        (390, "STALE", false),
        (500, "STALE", true),
        (350, "STORE_UNAVAILABLE", true),
        (350, "INTERNAL", true),
        (350, "CALLER_INVALID", true),
    ] {
        assert_eq!(is_wrong(&log, &error(start, reason)), wrong, "{reason} at {start}");
    }
    assert!(!is_wrong(&log, &Answer { key: None, ..error(350, "STORE_UNAVAILABLE") }));
    assert!(is_wrong(&log, &error(350, "DEADLINE_EXCEEDED")), "it had time left");
    assert!(!is_wrong(&log, &Answer { end: at(353), ..error(350, "DEADLINE_EXCEEDED") }));
    log.troubles = vec![Trouble { replica: Some(0), ..outage(290, 400) }];
    assert!(is_wrong(&log, &old), "that is another replica's");
    log.troubles = vec![Trouble { is_stop: true, ..outage(290, 400) }];
    assert!(is_wrong(&log, &old), "a replica that was stopped must look first");
    assert!(!is_wrong(&log, &error(390, "STALE")));
}
