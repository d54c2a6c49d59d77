//! What the tests of mail share: a service with a mail server, tenants with keys about to expire, and what became of each
//! mail.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use claviger::clock::Clock;
use claviger::domain::Time;
use claviger::notify::Report;
use claviger::proto::v1::{self, DeliveryState};
use prost_types::Timestamp;
use tokio::time::sleep;

use crate::harness::app::start_of_time;
use crate::harness::{Client, Engine, Mail, Place, Sink, TestApp};

/// Most members of a group.
const GROUP: usize = 1_000;

/// Settings for mails to the server at `url`, without TLS, and further ones.
pub fn settings<'a>(url: &'a str, further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut settings = vec![
        ("CLAVIGER_SMTP_URL", url),
        ("CLAVIGER_SMTP_INSECURE", "true"),
        ("CLAVIGER_MAIL_FROM", "Claviger <keys@claviger.test>"),
    ];
    settings.extend(further);
    settings
}

/// A service on an empty place, an hour before the warnings of a tenant that doesn't say. `None` when there is no engine.
pub async fn start(engine: Engine, sink: &Sink, further: &[(&str, &str)]) -> Option<TestApp> {
    Some(start_at(engine.place().await?, Clock::manual(start_of_time()), sink, further).await)
}

/// The same on a place that may have data.
pub async fn start_at(place: Place, clock: Clock, sink: &Sink, further: &[(&str, &str)]) -> TestApp {
    TestApp::start_at_with(place, clock, &settings(&sink.url(), further)).await
}

/// Makes a tenant with a key that expires in 13 days and these subscribers; answers its name.
pub async fn subscribe<A: AsRef<str>>(root: &mut Client, id: &str, addresses: &[A]) -> String {
    let tenant = root.create_tenant(id).await;
    let owner = root.create_service_user(&tenant, "billing").await;
    create_expiring_key(root, &owner, TimeDelta::days(13)).await;
    for (number, some) in addresses.chunks(GROUP).enumerate() {
        let some: Vec<&str> = some.iter().map(AsRef::as_ref).collect();
        root.create_user_group(&tenant, &format!("people-{number}"), &some).await;
    }
    tenant
}

/// Makes a key of this life.
pub async fn create_expiring_key(root: &mut Client, owner: &str, life: TimeDelta) -> v1::Key {
    let key = v1::Key { display_name: "Payments".to_owned(), ..Default::default() };
    let ttl = Some(prost_types::Duration { seconds: life.num_seconds(), nanos: 0 });
    let request = v1::CreateKeyRequest { parent: owner.to_owned(), key: Some(key), ttl, ..Default::default() };
    root.keys.create_key(request).await.expect("a key").into_inner().key.expect("a key")
}

/// Addresses of this many people.
pub fn people(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("person-{number:05}@acme.test")).collect()
}

/// Rings the bell, once nobody else does.
pub async fn ring(app: &TestApp) -> Report {
    loop {
        match app.running.warnings().ring().await {
            Some(report) => return report.expect("a run"),
            None => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Moves the clock to this instant and rings.
pub async fn ring_at(app: &TestApp, instant: Time) -> Report {
    app.advance(instant - app.clock.now());
    ring(app).await
}

/// The instant `hours` after the tests' start of time, 08:00 in UTC: 1 is the first warning, 25 the next.
pub fn hour(hours: i64) -> Time {
    start_of_time() + TimeDelta::hours(hours)
}

/// What became of a tenant's mails, the oldest first.
pub async fn deliveries(root: &mut Client, tenant: &str) -> Vec<v1::Delivery> {
    let (mut deliveries, mut page_token) = (Vec::new(), String::new());
    loop {
        let parent = tenant.to_owned();
        let request = v1::ListDeliveriesRequest { parent, page_size: 500, page_token, ..Default::default() };
        let page = root.notifications.list_deliveries(request).await.expect("a page").into_inner();
        deliveries.extend(page.deliveries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            deliveries.reverse();
            return deliveries;
        }
    }
}

/// What became of the mails to an address, the oldest first.
pub async fn deliveries_to(root: &mut Client, tenant: &str, address: &str) -> Vec<v1::Delivery> {
    let mut found = deliveries(root, tenant).await;
    found.retain(|delivery| delivery.recipient == address);
    found
}

/// The states of the mails to an address, the oldest first.
pub async fn states(root: &mut Client, tenant: &str, address: &str) -> Vec<DeliveryState> {
    deliveries_to(root, tenant, address).await.iter().map(v1::Delivery::state).collect()
}

/// A group as it is now.
pub async fn group(root: &mut Client, name: &str) -> v1::UserGroup {
    let request = v1::GetUserGroupRequest { name: name.to_owned() };
    root.user_groups.get_user_group(request).await.expect("a group").into_inner().user_group.expect("a group")
}

/// A member of a group as it is now.
pub async fn member(root: &mut Client, name: &str, address: &str) -> v1::UserGroupMember {
    let members = group(root, name).await.members;
    members.into_iter().find(|member| member.email == address).unwrap_or_else(|| panic!("no {address}"))
}

/// Writes the members of a group as they are, which forgives whatever kept mails from them.
pub async fn write_members(root: &mut Client, name: &str, members: &[&str]) {
    let member = |email: &&str| v1::UserGroupMember { email: (*email).to_owned(), ..Default::default() };
    let members = members.iter().map(member).collect();
    let user_group = Some(v1::UserGroup { name: name.to_owned(), members, ..Default::default() });
    let update_mask = Some(prost_types::FieldMask { paths: vec!["members".to_owned()] });
    let request = v1::UpdateUserGroupRequest { user_group, update_mask, expected_revision: 0 };
    root.user_groups.update_user_group(request).await.expect("updated");
}

/// Warns a tenant's people now.
pub async fn run_warnings(root: &mut Client, tenant: &str) -> Result<v1::RunWarningsResponse, tonic::Status> {
    let request = v1::RunWarningsRequest { tenant: tenant.to_owned() };
    Ok(root.notifications.run_warnings(request).await?.into_inner())
}

/// The Message-IDs of the mails that each recipient got, in order.
pub fn received(sink: &Sink) -> BTreeMap<String, Vec<String>> {
    let mut received: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for mail in sink.mails() {
        let [recipient] = mail.recipients.as_slice() else { panic!("not one recipient: {:?}", mail.recipients) };
        received.entry(recipient.clone()).or_default().push(mail.message_id());
    }
    received
}

/// How many mails each recipient got.
pub fn counts(sink: &Sink) -> BTreeMap<String, usize> {
    received(sink).into_iter().map(|(recipient, ids)| (recipient, ids.len())).collect()
}

/// Each of these got exactly one mail, and nobody else any.
pub fn expect_one_each<A: AsRef<str>>(sink: &Sink, addresses: &[A]) {
    let expected: BTreeMap<String, usize> = addresses.iter().map(|address| (address.as_ref().to_owned(), 1)).collect();
    let counts = counts(sink);
    let wrong: Vec<_> = counts.iter().filter(|(address, count)| expected.get(*address) != Some(count)).collect();
    assert!(wrong.is_empty(), "not one mail: {wrong:?}");
    assert_eq!(counts.len(), expected.len(), "some got none");
}

/// Where the one-click link of a mail leads, without the base.
pub fn link_path(mail: &Mail, base: &str) -> String {
    let header = mail.header("list-unsubscribe").expect("a link");
    let link = header.split(['<', '>']).find_map(|text| text.strip_prefix(base));
    link.unwrap_or_else(|| panic!("no link in {header}")).to_owned()
}

pub fn instant(timestamp: Option<Timestamp>) -> Time {
    let Timestamp { seconds, nanos } = timestamp.expect("a time");
    Time::from_timestamp(seconds, u32::try_from(nanos).expect("nanos")).expect("an instant")
}

/// How many times the sink said no to a recipient, or cut the conversation about it.
pub fn refused(sink: &Sink, address: &str) -> usize {
    sink.refusals().iter().filter(|refusal| refusal.recipients.iter().any(|recipient| recipient == address)).count()
}
