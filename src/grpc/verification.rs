//! VerificationService.

use std::sync::Arc;

use futures_util::future::join_all;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::domain::{Refusal, limits, refusal::FieldViolation};
use crate::proto::v1::{
    BatchVerifyRequest, BatchVerifyResponse, BatchVerifyResult, VerifyRequest, VerifyResponse, VerifyStreamRequest,
    WatchRevocationsRequest, batch_verify_result::Result as BatchItem,
    verification_service_server::VerificationService,
};
use crate::verify::{Answer, NoVerdict, Verifier, record::Record, tally::Tally, verdict::Question};

use super::{
    caller::Gate,
    convert::verification,
    status,
    stream_end::StreamEnd,
    streams::Answers,
    watch::{Messages, Watches},
};

/// The service. Cheap to clone.
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

    /// Lets a call of this service in.
    pub async fn admit<T>(&self, request: &Request<T>, method: &'static str) -> Result<Record, Status> {
        self.gate.admit_verification(request, method).await
    }

    /// As [`judge`](Self::judge), for whoever can't wait: answers when memory alone can. `None`: ask there.
    pub fn judge_now(&self, caller: &Record, request: &VerifyRequest) -> Option<Result<VerifyResponse, Status>> {
        let question = match read(caller, request) {
            Ok(question) => question,
            Err(refusal) => return Some(Err(status::from_refusal(&refusal))),
        };
        self.verifier.verify_now(&request.secret, &question).map(|answer| self.answer(request, answer))
    }

    /// Answers one question.
    pub async fn judge(&self, caller: &Record, request: &VerifyRequest) -> Result<VerifyResponse, Status> {
        let question = read(caller, request).map_err(|refusal| status::from_refusal(&refusal))?;
        self.answer(request, self.verifier.verify(&request.secret, &question).await)
    }

    fn answer(&self, request: &VerifyRequest, answer: Result<Answer, NoVerdict>) -> Result<VerifyResponse, Status> {
        self.tally.count(&answer.as_ref().map(|answer| answer.verdict).map_err(|why| *why));
        answer.map(|answer| verification::write(&answer, &request.secret)).map_err(status::from_no_verdict)
    }
}

#[tonic::async_trait]
impl VerificationService for Verification {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let caller = self.admit(&request, "claviger.v1.VerificationService/Verify").await?;
        self.judge(&caller, request.get_ref()).await.map(Response::new)
    }

    async fn batch_verify(
        &self,
        request: Request<BatchVerifyRequest>,
    ) -> Result<Response<BatchVerifyResponse>, Status> {
        let caller = self.admit(&request, "claviger.v1.VerificationService/BatchVerify").await?;
        let requests = &request.get_ref().requests;
        check_count(requests.len()).map_err(|refusal| status::from_refusal(&refusal))?;
        let mut judged: Vec<_> = requests.iter().map(|request| self.judge_now(&caller, request)).collect();
        // All at once, so that secrets which need a refresh share one.
        let waiting = judged.iter_mut().zip(requests).filter(|(judged, _)| judged.is_none());
        join_all(waiting.map(async |(judged, request)| *judged = Some(self.judge(&caller, request).await))).await;
        let results = judged.into_iter().flatten().map(result).collect();
        Ok(Response::new(BatchVerifyResponse { results }))
    }

    type VerifyStreamStream = Answers;

    async fn verify_stream(
        &self,
        request: Request<Streaming<VerifyStreamRequest>>,
    ) -> Result<Response<Self::VerifyStreamStream>, Status> {
        let method = "claviger.v1.VerificationService/VerifyStream";
        let caller = self.admit(&request, method).await?;
        let end = StreamEnd::of(&self.gate, &request, method, &self.leaving);
        Ok(Response::new(Answers::new(self.clone(), caller, request.into_inner(), end)))
    }

    type WatchRevocationsStream = Messages;

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let method = "claviger.v1.VerificationService/WatchRevocations";
        let caller = self.admit(&request, method).await?;
        let end = StreamEnd::of(&self.gate, &request, method, &self.leaving);
        let tenant = caller.verifiable_tenant().is_some().then(|| caller.owner().tenant().id().clone());
        Ok(Response::new(self.watches.open(request.get_ref(), tenant, end).await?))
    }
}

fn result(judged: Result<VerifyResponse, Status>) -> BatchVerifyResult {
    let item = match judged {
        Ok(response) => BatchItem::Response(response),
        Err(status) => BatchItem::Error(rpc_status(&status)),
    };
    BatchVerifyResult { result: Some(item) }
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
