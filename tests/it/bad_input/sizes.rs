//! Messages above their limit, and messages that can't be read.

use prost::Message;
use tonic::{Code, Status};

use super::call;
use super::dynamic::{Input, put, request};
use crate::harness::{Engine, TestApp, errors::bad_fields, errors::reason};
use crate::raw;
use crate::rpcs::{Place, rows};

on_both_engines!(
    a_message_at_its_limit_is_read_and_one_byte_more_is_not,
    a_single_verify_has_a_limit_of_its_own,
    a_message_that_cannot_be_read_is_the_callers_fault,
);

const LARGE: usize = 1 << 20;
const SMALL: usize = 64 << 10;

fn limit(rpc: &str) -> usize {
    let large = ["KeyService", "VerificationService", "UserGroupService", "Authorization"];
    if large.iter().any(|service| rpc.contains(service)) { LARGE } else { SMALL }
}

/// The request with an unknown field, which a reader skips, that makes it exactly `size` bytes.
fn padded(mut bytes: Vec<u8>, size: usize) -> Vec<u8> {
    const FIELD_1000_OF_BYTES: [u8; 2] = [0xc2, 0x3e];
    bytes.extend(FIELD_1000_OF_BYTES);
    let padding = size - bytes.len() - 3;
    bytes.extend([padding, padding >> 7, padding >> 14].map(|seven| u8::try_from(seven & 0x7f).expect("7 bits")));
    let last = bytes.len();
    bytes[last - 3] |= 0x80;
    bytes[last - 2] |= 0x80;
    bytes.resize(size, b'x');
    bytes
}

/// A refusal for what the caller sent: never INTERNAL, and with a reason.
fn assert_callers_fault(status: &Status, about: &str) {
    let told = (status.code(), reason(status));
    assert_eq!(told, (Code::InvalidArgument, "MESSAGE_INVALID".to_owned()), "{about}: {status:?}");
}

async fn a_message_at_its_limit_is_read_and_one_byte_more_is_not(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    for (number, row) in rows().iter().enumerate() {
        let place = Place::make(&mut root, &format!("acme-{number}")).await;
        let limit = limit(row.rpc);
        let too_long = padded((row.request)(&place), limit + 1);
        let refused = raw::call_as(&root.channel, &app.root_secret, row.rpc, too_long).await;
        assert_callers_fault(&refused.expect_err(row.rpc), row.rpc);
        let longest = padded((row.request)(&place), limit);
        assert_eq!(longest.len(), limit);
        let answered = raw::call_as(&root.channel, &app.root_secret, row.rpc, longest).await;
        assert!(answered.is_ok(), "{}: {answered:?}", row.rpc);
    }
}

async fn a_single_verify_has_a_limit_of_its_own(engine: Engine) {
    const VERIFY: &str = "claviger.v1.VerificationService/Verify";
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let mut message = request(VERIFY, &place);
    // One byte of tag and three of length go before the text.
    for (characters, fits) in [(SMALL - 4, true), (SMALL - 3, false), (2 * SMALL, false)] {
        put(&mut message, "secret", &Input::Text("x".repeat(characters)));
        assert_eq!(message.encoded_len() <= SMALL, fits);
        let answered = call(&root, &app.root_secret, VERIFY, &message).await;
        assert_eq!(answered.is_ok(), fits, "{characters} characters: {answered:?}");
        if let Err(status) = answered {
            assert_eq!((status.code(), bad_fields(&status).len()), (Code::InvalidArgument, 1));
        }
    }
}

async fn a_message_that_cannot_be_read_is_the_callers_fault(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let root = app.root().await;
    let unreadable: [(&str, &[u8]); 4] = [
        ("no field at all", &[0xff; 16]),
        ("a text that isn't UTF-8", &[0x0a, 0x02, 0xc3, 0x28]),
        ("a text longer than the message", &[0x0a, 0x7f, b'x']),
        ("a group that never ends", &[0x0b]),
    ];
    for row in rows() {
        for (what, bytes) in unreadable {
            let about = format!("{}: {what}", row.rpc);
            let refused = raw::call_as(&root.channel, &app.root_secret, row.rpc, bytes.to_vec()).await;
            assert_callers_fault(&refused.expect_err(&about), &about);
        }
    }
}
