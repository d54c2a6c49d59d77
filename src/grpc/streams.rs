//! VerifyStream: answers in order, questions read ahead.
//!
//! An answer that memory has is made where the question is read: no task, no queue, no timer. Only a question that must wait
//! for a look at the store is put aside, with everything that comes after it, and all of them share that look. Nothing is
//! read while nobody takes the answers, so a reader that stalls stalls its own questions (HTTP/2 flow control) and holds no
//! more than [`limits::STREAM_IN_FLIGHT`] of them here.

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
use crate::proto::v1::{
    VerifyRequest, VerifyResponse, VerifyStreamRequest, VerifyStreamResponse, verify_stream_response::Result as Item,
};
use crate::verify::record::Record;

use super::{
    convert::verification::write,
    status,
    stream_end::StreamEnd,
    verification::{self, Judged, Verification},
};

type Written = Result<VerifyResponse, Status>;
type Waiting = Either<Ready<Written>, BoxFuture<'static, Written>>;

/// The answers of one VerifyStream.
pub struct Answers {
    verification: Arc<Verification>,
    caller: Record,
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
        caller: Record,
        questions: Streaming<VerifyStreamRequest>,
        end: StreamEnd,
    ) -> Self {
        Self {
            verification: Arc::new(verification),
            caller,
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

    /// Judges a question. Answers now when memory has the answer and nobody waits before it; else in its turn.
    fn judge(&mut self, question: VerifyStreamRequest) -> Option<Written> {
        let Some(request) = question.request else {
            let why = "is missing; put the VerifyRequest here";
            let missing = Refusal::Invalid(vec![FieldViolation::new("request", why)]);
            return self.in_turn(Err(status::from_refusal(&missing)));
        };
        let arrival = self.verification.moment();
        if let Some(judged) = self.verification.judge_now(&self.caller, &request, arrival) {
            return self.in_turn(written(judged, &request));
        }
        let (verification, caller) = (Arc::clone(&self.verification), self.caller.clone());
        let judging = async move { written(in_time(verification.judge(&caller, &request, arrival)).await, &request) };
        self.waiting.push_back(Either::Right(judging.boxed()));
        None
    }

    fn in_turn(&mut self, judged: Written) -> Option<Written> {
        if self.waiting.is_empty() {
            return Some(judged);
        }
        self.waiting.push_back(Either::Left(ready(judged)));
        None
    }

    fn finish(&mut self, status: Option<Status>) -> Poll<Option<Result<VerifyStreamResponse, Status>>> {
        self.ended = true;
        self.questions = None;
        self.waiting.clear();
        Poll::Ready(status.map(Err))
    }
}

impl Stream for Answers {
    type Item = Result<VerifyStreamResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(status) = this.end.poll_next_unpin(context) {
            return this.finish(status);
        }
        while this.waiting.len() < limits::STREAM_IN_FLIGHT {
            let Some(question) = this.read(context) else { break };
            if let Some(judged) = this.judge(question) {
                return Poll::Ready(Some(Ok(answer(judged))));
            }
        }
        match this.waiting.poll_next_unpin(context) {
            Poll::Ready(Some(judged)) => Poll::Ready(Some(Ok(answer(judged)))),
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

fn written(judged: Judged, request: &VerifyRequest) -> Written {
    judged.map(|answer| write(&answer, &request.secret))
}

fn answer(written: Written) -> VerifyStreamResponse {
    let item = match written {
        Ok(response) => Item::Response(response),
        Err(status) => Item::Error(verification::rpc_status(&status)),
    };
    VerifyStreamResponse { result: Some(item) }
}

/// tonic blames a message that it can't read on itself, or calls it out of range.
fn explained(error: Status) -> Status {
    if matches!(error.code(), Code::OutOfRange | Code::Internal) { status::message_invalid() } else { error }
}
