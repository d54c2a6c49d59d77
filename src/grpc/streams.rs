//! VerifyStream: answers in order, questions read ahead.
//!
//! An answer that memory has is made where the question is read: no task, no queue, no timer. Only a question that must wait
//! for a look at the store is put aside, with everything that comes after it, and all of them share that look. Nothing is
//! read while nobody takes the answers, so a reader that stalls stalls its own questions (HTTP/2 flow control) and holds no
//! more than [`limits::STREAM_IN_FLIGHT`] of them here, and [`limits::STREAM_READ_AHEAD`] that are not judged yet.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either};
use futures_util::{
    FutureExt, Stream, StreamExt,
    stream::{FuturesOrdered, FuturesUnordered},
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::domain::{Refusal, limits, refusal::FieldViolation};
use crate::proto::v1::VerifyStreamRequest;
use crate::verify::lookahead::Lookahead;

use super::{
    recognised::Recognised,
    status,
    stream_end::StreamEnd,
    told::Told,
    verification::{Judged, Verification},
};

type Waiting = Either<Ready<Told>, BoxFuture<'static, Told>>;

/// The answers of one VerifyStream.
pub struct Answers {
    verification: Arc<Verification>,
    caller: Recognised,
    /// Read, and not yet judged.
    ahead: VecDeque<VerifyStreamRequest>,
    lookahead: Lookahead,
    /// `None` once the last question was read.
    questions: Option<Streaming<VerifyStreamRequest>>,
    /// Why there is no further question, if that is an error.
    broken: Option<Status>,
    /// Questions that wait for a look at the store, and what came after them.
    waiting: FuturesOrdered<Waiting>,
    /// One future, and among others so that it costs next to nothing until it is woken.
    end: FuturesUnordered<BoxFuture<'static, Status>>,
    ended: bool,
}

impl Answers {
    /// Answers `questions` of `caller` until `end`.
    #[must_use]
    pub fn new(
        verification: Verification,
        caller: Recognised,
        questions: Streaming<VerifyStreamRequest>,
        end: StreamEnd,
    ) -> Self {
        Self {
            verification: Arc::new(verification),
            caller,
            ahead: VecDeque::new(),
            lookahead: Lookahead::default(),
            questions: Some(questions),
            broken: None,
            waiting: FuturesOrdered::new(),
            end: FuturesUnordered::from_iter([end.reached().boxed()]),
            ended: false,
        }
    }

    /// The next question; `None` when there is none now, or never again.
    fn read(&mut self, context: &mut Context<'_>) -> Option<VerifyStreamRequest> {
        let questions = self.questions.as_mut()?;
        match questions.poll_next_unpin(context) {
            Poll::Pending => return None,
            Poll::Ready(Some(Ok(question))) => return Some(question),
            Poll::Ready(Some(Err(error))) => self.broken = Some(explained(error)),
            Poll::Ready(None) => {}
        }
        self.questions = None;
        None
    }

    /// The next question to judge. What is there is read before the first of it is judged.
    fn next(&mut self, context: &mut Context<'_>) -> Option<VerifyStreamRequest> {
        if self.ahead.is_empty() {
            while self.ahead.len() < limits::STREAM_READ_AHEAD {
                let Some(question) = self.read(context) else { break };
                if let Some(request) = &question.request {
                    self.verification.announce(request, &self.lookahead);
                }
                self.ahead.push_back(question);
            }
        }
        self.ahead.pop_front()
    }

    /// Judges a question. Answers now when memory has the answer and nobody waits before it; else in its turn.
    fn judge(&mut self, question: VerifyStreamRequest) -> Option<Told> {
        let Some(request) = question.request else {
            let why = "is missing; put the VerifyRequest here";
            let missing = Refusal::Invalid(vec![FieldViolation::new("request", why)]);
            return self.in_turn(Told { judged: Err(status::from_refusal(&missing)), presented: String::new() });
        };
        let arrival = self.verification.moment();
        if let Some(judged) = self.verification.judge_now(&self.caller, &request, arrival) {
            return self.in_turn(Told { judged, presented: request.secret });
        }
        let (verification, caller) = (Arc::clone(&self.verification), self.caller.clone());
        let judging = async move {
            let judged = in_time(verification.judge(&caller, &request, arrival)).await;
            Told { judged, presented: request.secret }
        };
        self.waiting.push_back(Either::Right(judging.boxed()));
        None
    }

    fn in_turn(&mut self, told: Told) -> Option<Told> {
        if self.waiting.is_empty() {
            return Some(told);
        }
        self.waiting.push_back(Either::Left(ready(told)));
        None
    }

    fn finish(&mut self, status: Option<Status>) -> Poll<Option<Result<Told, Status>>> {
        self.ended = true;
        self.questions = None;
        self.ahead.clear();
        self.waiting.clear();
        Poll::Ready(status.map(Err))
    }
}

impl Stream for Answers {
    type Item = Result<Told, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(status) = this.end.poll_next_unpin(context) {
            return this.finish(status);
        }
        while this.waiting.len() < limits::STREAM_IN_FLIGHT {
            let Some(question) = this.next(context) else { break };
            if let Some(told) = this.judge(question) {
                return Poll::Ready(Some(Ok(told)));
            }
        }
        match this.waiting.poll_next_unpin(context) {
            Poll::Ready(Some(told)) => Poll::Ready(Some(Ok(told))),
            Poll::Ready(None) if this.questions.is_none() => {
                let broken = this.broken.take();
                this.finish(broken)
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// As long as Verify alone would take.
async fn in_time(judging: impl Future<Output = Judged>) -> Judged {
    timeout(limits::VERIFY_DEADLINE, judging).await.unwrap_or_else(|_| Err(status::deadline_exceeded()))
}

/// tonic blames a message that it can't read on itself, or calls it out of range.
fn explained(error: Status) -> Status {
    if matches!(error.code(), Code::OutOfRange | Code::Internal) { status::message_invalid() } else { error }
}
