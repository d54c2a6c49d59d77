//! A line in which requests wait for a turn to write, and have it together: whoever fetches the turn takes along those that
//! wait when it is there, as many as have room in it.
//!
//! While anybody waits a leader is on its way to a turn, and meanwhile the next ones gather. So the groups get as large as the
//! writing of one is slow, and nobody waits for company. As many leaders are on their way as turns are needed: a long line
//! gets no fewer of them than those who queue one by one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::domain::limits;
use crate::store::StoreError;

use super::AuthorityError;

/// The line. Cheap to clone; the clones are one line.
pub(super) struct Line<Request, Answer> {
    state: Arc<Mutex<State<Request, Answer>>>,
    per_turn: usize,
}

struct State<Request, Answer> {
    waiting: VecDeque<Waiting<Request, Answer>>,
    /// Each leader on its way holds it too, so one that a panic ended counts no more.
    mark: Arc<()>,
}

struct Waiting<Request, Answer> {
    request: Request,
    since: Instant,
    begins: oneshot::Sender<oneshot::Receiver<Answer>>,
}

/// Whoever fetches a turn for those who wait.
pub(super) struct Leader<Request, Answer> {
    line: Line<Request, Answer>,
    mark: Arc<()>,
}

/// A place in the line. Left when dropped, unless the request has begun.
pub(super) struct Place<Answer> {
    begins: oneshot::Receiver<oneshot::Receiver<Answer>>,
}

/// A place in the line, and a leader when too few are on their way.
pub(super) type Joined<Request, Answer> = (Place<Answer>, Option<Leader<Request, Answer>>);

/// A request that has its turn: it runs to its end, whatever becomes of who made it.
pub(super) struct Begun<Request, Answer> {
    /// What is asked.
    pub(super) request: Request,
    answer: oneshot::Sender<Answer>,
}

impl<Request, Answer> Line<Request, Answer> {
    /// An empty line; `per_turn` requests have room in a turn.
    pub(super) fn new(per_turn: usize) -> Self {
        let state = State { waiting: VecDeque::new(), mark: Arc::default() };
        Self { state: Arc::new(Mutex::new(state)), per_turn }
    }

    /// Joins the line. Whoever gets a leader must send it for a turn. `Overloaded` when too many wait.
    pub(super) fn join(&self, request: Request) -> Result<Joined<Request, Answer>, StoreError> {
        let mut state = self.state.lock();
        if state.waiting.len() >= limits::WAITING_WRITERS {
            state.waiting.retain(|waiting| !waiting.begins.is_closed());
        }
        if state.waiting.len() >= limits::WAITING_WRITERS {
            return Err(StoreError::Overloaded);
        }
        let (begins, place) = oneshot::channel();
        state.waiting.push_back(Waiting { request, since: Instant::now(), begins });
        Ok((Place { begins: place }, self.next_leader(&state)))
    }

    /// A leader, when those on their way are too few for all who wait.
    fn next_leader(&self, state: &State<Request, Answer>) -> Option<Leader<Request, Answer>> {
        let on_their_way = Arc::strong_count(&state.mark) - 1;
        let is_needed = on_their_way * self.per_turn < state.waiting.len();
        is_needed.then(|| Leader { line: self.clone(), mark: Arc::clone(&state.mark) })
    }
}

impl<Request, Answer> Leader<Request, Answer> {
    /// Takes those who wait, in order, as long as there is room in the turn. Passed over is whom `takes` leaves out, given who
    /// was taken before, the request and since when it waits; and who has given up is forgotten. Another leader must be sent
    /// if there is one.
    pub(super) fn take(
        self,
        takes: impl Fn(&[Begun<Request, Answer>], &Request, Instant) -> bool,
    ) -> (Vec<Begun<Request, Answer>>, Option<Self>) {
        let Self { line, mark } = self;
        let mut state = line.state.lock();
        let (mut begun, mut passed_over) = (Vec::new(), VecDeque::new());
        while begun.len() < line.per_turn
            && let Some(first) = state.waiting.pop_front()
        {
            if !takes(&begun, &first.request, first.since) {
                passed_over.push_back(first);
                continue;
            }
            let (answer, answered) = oneshot::channel();
            if first.begins.send(answered).is_ok() {
                begun.push(Begun { request: first.request, answer });
            }
        }
        passed_over.append(&mut state.waiting);
        state.waiting = passed_over;
        drop(mark);
        let next = line.next_leader(&state);
        (begun, next)
    }
}

impl<Answer> Place<Answer> {
    /// Waits for the answer. `Overloaded` when it doesn't begin within `longest`; then it never will.
    pub(super) async fn answer(mut self, longest: Duration) -> Result<Answer, AuthorityError> {
        let began = timeout(longest, &mut self.begins).await;
        let answered = match began {
            Ok(began) => began.map_err(|_| lost())?,
            Err(_) => {
                self.begins.close();
                // Begun at the last moment, perhaps.
                self.begins.try_recv().map_err(|_| StoreError::Overloaded)?
            }
        };
        answered.await.map_err(|_| lost())
    }
}

fn lost() -> AuthorityError {
    AuthorityError::Defect("a change panicked".to_owned())
}

impl<Request, Answer> Begun<Request, Answer> {
    /// Whether who made it still listens.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.answer.is_closed()
    }

    /// Answers who made it, if it still listens.
    pub(super) fn answer(self, answer: Answer) {
        drop(self.answer.send(answer));
    }
}

impl<Request, Answer> Clone for Line<Request, Answer> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), per_turn: self.per_turn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);

    type Numbers = Line<usize, usize>;

    fn numbers(begun: &[Begun<usize, usize>]) -> Vec<usize> {
        begun.iter().map(|one| one.request).collect()
    }

    fn all(_: &[Begun<usize, usize>], _: &usize, _: Instant) -> bool {
        true
    }

    #[tokio::test]
    async fn those_who_wait_are_taken_in_order_by_as_many_leaders_as_they_need() {
        let line = Numbers::new(2);
        let (mut places, mut leaders) = (Vec::new(), Vec::new());
        for number in 1..=5 {
            let (place, leader) = line.join(number).expect("room");
            places.push(place);
            leaders.extend(leader);
        }
        assert_eq!(leaders.len(), 3);
        for group in [&[1, 2][..], &[3, 4], &[5]] {
            let (begun, next) = leaders.pop().expect("a leader").take(all);
            assert_eq!((numbers(&begun).as_slice(), next.is_none()), (group, true));
            for one in begun {
                let answer = one.request * 10;
                one.answer(answer);
            }
        }
        for (place, answer) in places.into_iter().zip([10, 20, 30, 40, 50]) {
            assert_eq!(place.answer(limits::TURN_WAIT).await.expect("an answer"), answer);
        }
        let (_place, leader) = line.join(6).expect("room");
        let (begun, next) = leader.expect("none was on its way").take(all);
        assert_eq!((numbers(&begun), next.is_none()), (vec![6], true));
    }

    #[tokio::test]
    async fn who_is_passed_over_stays_in_front_and_gets_another_leader() {
        let line = Numbers::new(2);
        let (_first, leader) = line.join(1).expect("room");
        let _others: Vec<_> = (2..=4).map(|number| line.join(number).expect("room").0).collect();
        let (begun, next) = leader.expect("it leads").take(|begun, number, _| *number > 1 && begun.is_empty());
        assert_eq!(numbers(&begun), [2]);
        let (begun, next) = next.expect("three wait").take(all);
        assert_eq!(numbers(&begun), [1, 3]);
        assert_eq!(numbers(&next.expect("one waits").take(all).0), [4]);
    }

    #[tokio::test]
    async fn who_gives_up_before_it_begins_is_not_begun() {
        let line = Numbers::new(2);
        let (first, leader) = line.join(1).expect("room");
        let (_second, _) = line.join(2).expect("room");
        drop(first);
        let (begun, next) = leader.expect("it leads").take(all);
        assert_eq!((numbers(&begun), next.is_none()), (vec![2], true));
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_so_and_not_begun() {
        let (place, leader) = Numbers::new(2).join(1).expect("room");
        let refused = place.answer(MOMENT).await.expect_err("nobody took it");
        assert!(matches!(refused, AuthorityError::Store(StoreError::Overloaded)), "{refused}");
        assert!(leader.expect("it leads").take(all).0.is_empty());
    }

    #[tokio::test]
    async fn what_has_begun_is_waited_for() {
        let (place, leader) = Numbers::new(2).join(1).expect("room");
        let (mut begun, _) = leader.expect("it leads").take(all);
        let answering = tokio::spawn(place.answer(MOMENT));
        tokio::time::sleep(MOMENT * 3).await;
        begun.pop().expect("one").answer(7);
        assert_eq!(answering.await.expect("no panic").expect("an answer"), 7);
    }

    #[tokio::test]
    async fn one_too_many_is_turned_away_until_somebody_gives_up() {
        let line = Numbers::new(2);
        let mut places: Vec<_> =
            (0..limits::WAITING_WRITERS).map(|number| line.join(number).expect("room").0).collect();
        assert_eq!(line.join(0).err(), Some(StoreError::Overloaded));
        places.truncate(limits::WAITING_WRITERS - 1);
        assert!(line.join(0).is_ok());
    }

    #[tokio::test]
    async fn a_lost_leader_is_replaced_and_a_lost_group_is_a_defect() {
        let line = Numbers::new(2);
        let (first, leader) = line.join(1).expect("room");
        drop(leader);
        let (_second, leader) = line.join(2).expect("room");
        let (begun, _) = leader.expect("it leads now").take(all);
        assert_eq!(numbers(&begun), [1, 2]);
        drop(begun);
        assert!(matches!(first.answer(limits::TURN_WAIT).await, Err(AuthorityError::Defect(_))));
    }
}
