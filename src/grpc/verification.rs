//! VerificationService.

use std::sync::Arc;

use futures_util::future::join_all;
use hyper::body::Bytes;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::clock::Moment;
use crate::domain::{Refusal, limits, refusal::FieldViolation};
use crate::proto::v1::{
    BatchVerifyRequest, BatchVerifyResponse, BatchVerifyResult, VerifyRequest, VerifyResponse, VerifyStreamRequest,
    WatchRevocationsRequest, batch_verify_result::Result as BatchItem,
    verification_service_server::VerificationService,
};
use crate::verify::{Answer, NoVerdict, Verifier, record::Record, tally::Tally, verdict::Question};

use super::{
    caller::{Admitted, Gate, Opening},
    convert::verification,
    fast_lane::{FastCall, FastLane, framed},
    status,
    stream_end::StreamEnd,
    streams::Answers,
    watch::{Messages, Watches},
};

/// What became of a question.
pub type Judged = Result<Answer, Status>;

/// Longer than most answers, so that most are written without moving.
const ANSWER_BYTES: usize = 384;

/// The service. Cheap to clone. Verify and BatchVerify have a road of their own, and never come to tonic's.
#[derive(Clone)]
pub struct Verification {
    gate: Gate,
    verifier: Arc<Verifier>,
    tally: Arc<Tally>,
    watches: Watches,
    leaving: CancellationToken,
}

impl Verification {
    /// A service that answers from `verifier`, and counts its verdicts; its streams end with `leaving`.
    #[must_use]
    pub fn new(
        gate: Gate,
        verifier: Arc<Verifier>,
        tally: Arc<Tally>,
        watches: Watches,
        leaving: CancellationToken,
    ) -> Self {
        Self { gate, verifier, tally, watches, leaving }
    }

    /// As [`judge`](Self::judge), for whoever can't wait: answers when memory alone can. `None`: ask there.
    pub fn judge_now(&self, caller: &Record, request: &VerifyRequest, arrival: Moment) -> Option<Judged> {
        let question = match read(caller, request) {
            Ok(question) => question,
            Err(refusal) => return Some(Err(status::from_refusal(&refusal))),
        };
        self.verifier.verify_now(&request.secret, &question, arrival).map(|answer| self.counted(answer))
    }

    /// Judges one question, which came at `arrival`.
    pub async fn judge(&self, caller: &Record, request: &VerifyRequest, arrival: Moment) -> Judged {
        let question = read(caller, request).map_err(|refusal| status::from_refusal(&refusal))?;
        self.counted(self.verifier.verify(&request.secret, &question, arrival).await)
    }

    /// Now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.gate.moment()
    }

    async fn admit<T>(&self, request: &Request<T>, method: &'static str) -> Result<Admitted, Status> {
        self.gate.admit_verification(Opening::of(request), method).await
    }

    fn counted(&self, answer: Result<Answer, NoVerdict>) -> Judged {
        self.tally.count(&answer.as_ref().map(|answer| answer.verdict).map_err(|why| *why));
        answer.map_err(status::from_no_verdict)
    }
}

impl FastLane for Verification {
    async fn verify(&self, opening: Opening<'_>, request: &VerifyRequest) -> Result<Bytes, Status> {
        let Admitted { caller, arrival } = self.gate.admit_verification(opening, FastCall::Verify.method()).await?;
        let answer = self.judge(&caller, request, arrival).await?;
        Ok(framed(ANSWER_BYTES, |bytes| verification::encode(&answer, &request.secret, bytes)))
    }

    async fn batch_verify(&self, opening: Opening<'_>, request: &BatchVerifyRequest) -> Result<Bytes, Status> {
        let Admitted { caller, arrival } =
            self.gate.admit_verification(opening, FastCall::BatchVerify.method()).await?;
        let requests = &request.requests;
        check_count(requests.len()).map_err(|refusal| status::from_refusal(&refusal))?;
        let mut judged: Vec<_> = requests.iter().map(|request| self.judge_now(&caller, request, arrival)).collect();
        // All at once, so that secrets which need a refresh share one.
        let waiting = judged.iter_mut().zip(requests).filter(|(judged, _)| judged.is_none());
        join_all(waiting.map(async |(judged, request)| *judged = Some(self.judge(&caller, request, arrival).await)))
            .await;
        let judged = judged.into_iter().flatten().zip(requests);
        Ok(framed(requests.len() * ANSWER_BYTES, |bytes| write_results(judged, bytes)))
    }
}

fn write_results<'a>(judged: impl Iterator<Item = (Judged, &'a VerifyRequest)>, bytes: &mut Vec<u8>) {
    let mut scratch = Vec::with_capacity(ANSWER_BYTES);
    for (judged, request) in judged {
        match judged {
            Ok(answer) => verification::encode_result(&answer, &request.secret, &mut scratch, bytes),
            Err(status) => {
                let result = Some(BatchItem::Error(rpc_status(&status)));
                prost::encoding::message::encode(1, &BatchVerifyResult { result }, bytes);
            }
        }
    }
}

#[tonic::async_trait]
impl VerificationService for Verification {
    async fn verify(&self, _request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        Err(status::method_unknown())
    }

    async fn batch_verify(
        &self,
        _request: Request<BatchVerifyRequest>,
    ) -> Result<Response<BatchVerifyResponse>, Status> {
        Err(status::method_unknown())
    }

    type VerifyStreamStream = Answers;

    async fn verify_stream(
        &self,
        request: Request<Streaming<VerifyStreamRequest>>,
    ) -> Result<Response<Self::VerifyStreamStream>, Status> {
        let method = "claviger.v1.VerificationService/VerifyStream";
        let Admitted { caller, .. } = self.admit(&request, method).await?;
        let end = StreamEnd::of(&self.gate, &request, method, &self.leaving);
        Ok(Response::new(Answers::new(self.clone(), caller, request.into_inner(), end)))
    }

    type WatchRevocationsStream = Messages;

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let method = "claviger.v1.VerificationService/WatchRevocations";
        let Admitted { caller, .. } = self.admit(&request, method).await?;
        let end = StreamEnd::of(&self.gate, &request, method, &self.leaving);
        let tenant = caller.verifiable_tenant().is_some().then(|| caller.owner().tenant().id().clone());
        Ok(Response::new(self.watches.open(request.get_ref(), tenant, end).await?))
    }
}

/// The status as a message: tonic carries it, encoded, in its own details.
pub(super) fn rpc_status(status: &Status) -> tonic_types::pb::Status {
    tonic_types::pb::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::pb::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

fn read<'a>(caller: &'a Record, request: &'a VerifyRequest) -> Result<Question<'a>, Refusal> {
    check_size(request)?;
    verification::question(request, caller.verifiable_tenant())
}

fn check_size(request: &VerifyRequest) -> Result<(), Refusal> {
    let bytes = request.encoded_len();
    if bytes <= limits::SMALL_MESSAGE_BYTES {
        return Ok(());
    }
    let why = format!("makes a message of {bytes} bytes; at most {} are allowed", limits::SMALL_MESSAGE_BYTES);
    Err(Refusal::Invalid(vec![FieldViolation::new("secret", why)]))
}

fn check_count(count: usize) -> Result<(), Refusal> {
    if (1..=limits::BATCH).contains(&count) {
        return Ok(());
    }
    let why = format!("has {count} entries; 1 to {} are allowed", limits::BATCH);
    Err(Refusal::Invalid(vec![FieldViolation::new("requests", why)]))
}
