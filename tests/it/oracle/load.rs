//! Verifiers: closed loops that ask about random keys and write down every answer.

use std::sync::Arc;
use std::time::Duration;

use claviger::proto::v1::{
    BatchVerifyRequest, BatchVerifyResult, VerifyRequest, VerifyResponse, VerifyStreamRequest, VerifyStreamResponse,
    batch_verify_result, verify_stream_response,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, errors::status_in};
use crate::rig::Chance;

use super::judge::{Answer, Heard};
use super::record::Record;

/// So that the machine has time for the service too.
const PACE: Duration = Duration::from_millis(2);
/// Longer than any stop of a replica.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The scope that keys have until they are narrowed, and the one that stays.
pub const SCOPES: [&str; 2] = ["pay", "read"];

/// Questions of one batch, or of one stream.
const TOGETHER: usize = 3;

/// Asks one replica until stopped: half of the time by Verify, else by a batch or a stream of a few.
pub async fn verify(
    mut caller: Client,
    replica: usize,
    record: Arc<Record>,
    mut chance: Chance,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let way = [Way::Verify, Way::Verify, Way::BatchVerify, Way::VerifyStream][chance.below(4)];
        let count = if way == Way::Verify { 1 } else { TOGETHER };
        let mut draw = || {
            let (key, secret) = record.draw(&mut chance);
            Question { key, secret, asks_scope: chance.below(2) == 0 }
        };
        let questions = (0..count).map(|_| draw()).collect();
        ask_all(&mut caller, replica, &record, questions, way).await;
        sleep(PACE).await;
    }
}

/// By which RPC.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Verify,
    BatchVerify,
    VerifyStream,
}

struct Question {
    key: Option<usize>,
    secret: String,
    asks_scope: bool,
}

impl Question {
    fn request(&self) -> VerifyRequest {
        let required_scopes = if self.asks_scope { vec![SCOPES[0].to_owned()] } else { Vec::new() };
        VerifyRequest { secret: self.secret.clone(), required_scopes, ..Default::default() }
    }
}

/// Asks once by Verify and writes the answer down.
pub async fn ask(
    caller: &mut Client,
    replica: usize,
    record: &Record,
    key: Option<usize>,
    secret: String,
    asks_scope: bool,
) -> Heard {
    let questions = vec![Question { key, secret, asks_scope }];
    ask_all(caller, replica, record, questions, Way::Verify).await.remove(0)
}

/// Asks once and writes the answers down.
async fn ask_all(
    caller: &mut Client,
    replica: usize,
    record: &Record,
    questions: Vec<Question>,
    way: Way,
) -> Vec<Heard> {
    let requests: Vec<VerifyRequest> = questions.iter().map(Question::request).collect();
    let start = record.now();
    let told = async {
        match way {
            Way::Verify => vec![one(caller, requests).await],
            Way::BatchVerify => batch(caller, requests).await,
            Way::VerifyStream => stream(caller, requests).await,
        }
    };
    let silence = || vec![Err(Status::unknown("no answer at all")); questions.len()];
    let told = timeout(PATIENCE, told).await.unwrap_or_else(|_| silence());
    assert_eq!(told.len(), questions.len(), "an answer to each");
    let end = record.now();
    let heard: Vec<Heard> = told.into_iter().map(|answer| heard(record, answer)).collect();
    for (Question { key, asks_scope, .. }, heard) in questions.into_iter().zip(heard.iter().cloned()) {
        record.answer(Answer { replica, key, asks_scope, start, end, heard });
    }
    heard
}

fn heard(record: &Record, answer: Told) -> Heard {
    match answer {
        Ok(answer) => Heard::Verdict(answer.verdict(), record.moment(answer.as_of.expect("as_of"))),
        Err(status) => Heard::Error(reason_of(&status)),
    }
}

type Told = Result<VerifyResponse, Status>;

async fn one(caller: &mut Client, mut requests: Vec<VerifyRequest>) -> Told {
    caller.verification.verify(requests.remove(0)).await.map(Response::into_inner)
}

async fn batch(caller: &mut Client, requests: Vec<VerifyRequest>) -> Vec<Told> {
    let count = requests.len();
    let read = |result: BatchVerifyResult| match result.result.expect("a result") {
        batch_verify_result::Result::Response(response) => Ok(response),
        batch_verify_result::Result::Error(error) => Err(status_in(&error)),
    };
    match caller.verification.batch_verify(BatchVerifyRequest { requests }).await {
        Ok(answer) => answer.into_inner().results.into_iter().map(read).collect(),
        Err(status) => vec![Err(status); count],
    }
}

/// What a stream that ends early didn't answer, has its status.
async fn stream(caller: &mut Client, requests: Vec<VerifyRequest>) -> Vec<Told> {
    let count = requests.len();
    let questions = requests.into_iter().map(|request| VerifyStreamRequest { request: Some(request) });
    let read = |answer: VerifyStreamResponse| match answer.result.expect("a result") {
        verify_stream_response::Result::Response(response) => Ok(response),
        verify_stream_response::Result::Error(error) => Err(status_in(&error)),
    };
    let mut told = Vec::new();
    let ended = match caller.verification.verify_stream(tokio_stream::iter(questions)).await {
        Ok(answers) => {
            let mut answers = answers.into_inner();
            loop {
                match answers.message().await {
                    Ok(Some(answer)) => told.push(read(answer)),
                    Ok(None) => break Status::unknown("the stream ended early"),
                    Err(status) => break status,
                }
            }
        }
        Err(status) => status,
    };
    told.extend(vec![Err(ended); count.saturating_sub(told.len())]);
    told
}

/// The reason, or what else there is.
pub fn reason_of(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map_or_else(|| format!("{:?}: {}", status.code(), status.message()), |info| info.reason)
}
