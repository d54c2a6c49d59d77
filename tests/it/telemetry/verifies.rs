//! Which calls of Verify and BatchVerify have a span, and that none has a line in the log.

use claviger::proto::v1::{BatchVerifyRequest, VerifyRequest};
use tonic::Request;

use super::{PARENT, TRACE, hex, log_and_secret_of, root, spans_by_now, traced};
use crate::harness::{Client, process::root_secret};

const METHODS: [&str; 2] = ["claviger.v1.VerificationService/Verify", "claviger.v1.VerificationService/BatchVerify"];

fn within<T>(context: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(context) = context {
        request.metadata_mut().insert("traceparent", context.parse().expect("ASCII"));
    }
    request
}

/// Calls both, in the trace of this `traceparent`.
async fn call_each(client: &mut Client, secret: &str, context: Option<&str>) {
    let question = VerifyRequest { secret: secret.to_owned(), ..Default::default() };
    client.verification.verify(within(context, question.clone())).await.expect("a verdict");
    let batch = BatchVerifyRequest { requests: vec![question] };
    client.verification.batch_verify(within(context, batch)).await.expect("verdicts");
}

#[tokio::test]
async fn whoever_records_has_a_span_below_its_own_though_no_other_call_is_traced() {
    let (mut collector, service, place) = traced("0").await;
    let mut client = root(&service, &place).await;
    let secret = root_secret(place.folder.path());
    for context in [Some("01"), Some("00"), None] {
        let context = context.map(|flags| format!("00-{TRACE}-{PARENT}-{flags}"));
        call_each(&mut client, &secret, context.as_deref()).await;
    }
    let spans = spans_by_now(&mut collector, &mut client, &METHODS).await;
    assert_eq!(spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), METHODS, "{spans:?}");
    for span in spans {
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
        assert!(!format!("{span:?}").contains(&secret), "the span holds the secret");
    }
}

#[tokio::test]
async fn whoever_says_nothing_is_traced_by_ratio() {
    let (mut collector, service, place) = traced("0.01").await;
    let mut client = root(&service, &place).await;
    let secret = root_secret(place.folder.path());
    let unrecorded = format!("00-{TRACE}-{PARENT}-00");
    for _ in 0..250 {
        client.verdict(&secret).await;
        call_each(&mut client, &secret, Some(&unrecorded)).await;
    }
    let spans = spans_by_now(&mut collector, &mut client, &METHODS[..1]).await;
    // One connection, and so one thread, which picks evenly: the first, the 101st and the 201st.
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE && span.parent_span_id.is_empty()), "{spans:?}");
}

#[tokio::test]
async fn no_call_of_verify_has_a_line_in_the_log_unless_debug_is_asked_for() {
    for (filter, lines) in [("info", 0), ("debug", 1)] {
        let (log, _) = log_and_secret_of(&[("CLAVIGER_LOG", filter)]).await;
        assert!(log.contains("claviger.v1.TenantService/CreateTenant"), "{log}");
        assert_eq!(log.lines().filter(|line| line.contains(METHODS[0])).count(), lines, "{filter}: {log}");
    }
}
