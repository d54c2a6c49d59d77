//! NotificationService: what people of a tenant are told in-app, what a run and its preview say, what became of each mail,
//! and how the end of a key becomes visible.

mod deliveries;
mod ends;
mod lists;
mod preview;
mod reading;
mod refusing;
mod running;
mod tenants;
mod unsubscribing;

use std::time::Duration;

use claviger::clock::Clock;
use claviger::domain::Time;
use claviger::proto::v1::{self, NotificationKind};
use futures_util::{StreamExt, stream};
use tokio::time::sleep;
use tonic::Status;

use crate::harness::{Client, Engine, Sink, TestApp, sink::Options};

const DAY: i64 = 86_400;

/// A service that sends its mails to a server of our own. Tests begin at 08:00 UTC, an hour before the default warning hour.
pub struct Ground {
    app: TestApp,
    root: Client,
    sink: Sink,
}

/// `None` when there is no engine or no mail server.
async fn ground(engine: Engine) -> Option<Ground> {
    ground_with(engine, &[]).await
}

/// The same with further settings.
async fn ground_with(engine: Engine, further: &[(&str, &str)]) -> Option<Ground> {
    let sink = Sink::start(Options::default()).await?;
    let url = sink.url();
    let app = TestApp::start_with(engine, &[&mail_settings(&url), further].concat()).await?;
    let root = app.root().await;
    Some(Ground { app, root, sink })
}

fn mail_settings(url: &str) -> [(&str, &str); 3] {
    [
        ("CLAVIGER_SMTP_URL", url),
        ("CLAVIGER_SMTP_INSECURE", "true"),
        ("CLAVIGER_MAIL_FROM", "Claviger <keys@claviger.test>"),
    ]
}

fn timestamp(time: Time) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).expect("below a second");
    prost_types::Timestamp { seconds: time.timestamp(), nanos }
}

fn time(text: &str) -> Time {
    text.parse().expect("an instant")
}

/// Moves the clock to an instant.
fn go_to(app: &TestApp, when: Time) {
    app.advance(when - app.clock.now());
}

/// Waits until the scheduler, which goes by the machine's clock, won't ring for a while: what it sends isn't in the reports
/// that a test adds up.
async fn between_bells() {
    while !(1..=40).contains(&(Clock::system().now().timestamp() % 60)) {
        sleep(Duration::from_millis(100)).await;
    }
}

/// The bell, once it isn't being rung by the scheduler.
async fn ring(app: &TestApp) -> claviger::notify::Report {
    loop {
        match app.running.warnings().ring().await {
            Some(report) => return report.expect("a run"),
            None => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A new key that lives that many seconds; its display name tells it apart.
async fn key(root: &mut Client, parent: &str, display_name: &str, seconds: i64) -> v1::Key {
    key_and_secret(root, parent, display_name, seconds).await.0
}

async fn key_and_secret(root: &mut Client, parent: &str, display_name: &str, seconds: i64) -> (v1::Key, String) {
    let key = v1::Key { display_name: display_name.to_owned(), ..Default::default() };
    let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
    let request = v1::CreateKeyRequest { parent: parent.to_owned(), key: Some(key), ttl, ..Default::default() };
    let made = root.keys.create_key(request).await.expect("a key").into_inner();
    (made.key.expect("a key"), made.secret)
}

/// Makes service users with ten keys each that live that many seconds.
async fn many_keys(root: &Client, tenant: &str, service_users: usize, seconds: i64) {
    let owners = stream::iter(0..service_users).map(|number| {
        let (mut root, tenant) = (root.clone(), tenant.to_owned());
        async move {
            let owner = root.create_service_user(&tenant, &format!("user-{number}")).await;
            for index in 0..10 {
                key(&mut root, &owner, &format!("key {number}-{index}"), seconds).await;
            }
        }
    });
    owners.buffer_unordered(8).collect::<Vec<()>>().await;
}

async fn get_key(root: &mut Client, name: &str) -> v1::Key {
    let got = root.keys.get_key(v1::GetKeyRequest { name: name.to_owned() }).await.expect("a key");
    got.into_inner().key.expect("a key")
}

/// Writes the members of a group.
async fn set_members(root: &mut Client, name: &str, addresses: &[&str]) {
    let member = |email: &&str| v1::UserGroupMember { email: (*email).to_owned(), ..Default::default() };
    let members = addresses.iter().map(member).collect();
    let group = v1::UserGroup { name: name.to_owned(), members, ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["members".to_owned()] });
    let request = v1::UpdateUserGroupRequest { user_group: Some(group), update_mask, expected_revision: 0 };
    root.user_groups.update_user_group(request).await.expect("updated");
}

async fn delete_group(root: &mut Client, name: &str) {
    let request = v1::DeleteUserGroupRequest { name: name.to_owned(), expected_revision: 0 };
    root.user_groups.delete_user_group(request).await.expect("deleted");
}

async fn run(root: &mut Client, tenant: &str) -> v1::RunWarningsResponse {
    let request = v1::RunWarningsRequest { tenant: tenant.to_owned() };
    root.notifications.run_warnings(request).await.expect("a report").into_inner()
}

async fn preview(root: &mut Client, tenant: &str, from: Option<Time>, to: Option<Time>) -> v1::PreviewWarningsResponse {
    let (from, to) = (from.map(timestamp), to.map(timestamp));
    let request = v1::PreviewWarningsRequest { tenant: tenant.to_owned(), from, to };
    root.notifications.preview_warnings(request).await.expect("a preview").into_inner()
}

fn all_of(tenant: &str) -> v1::ListNotificationsRequest {
    v1::ListNotificationsRequest { parent: tenant.to_owned(), ..Default::default() }
}

/// Every notification of a list, the newest first, and how many pages it took.
async fn pages(root: &mut Client, mut request: v1::ListNotificationsRequest) -> (Vec<v1::Notification>, usize) {
    let (mut listed, mut count) = (Vec::new(), 0);
    loop {
        let page = root.notifications.list_notifications(request.clone()).await.expect("a page").into_inner();
        listed.extend(page.notifications);
        count += 1;
        assert!(count < 1_000, "the list has no end");
        if page.next_page_token.is_empty() {
            return (listed, count);
        }
        request.page_token = page.next_page_token;
    }
}

async fn list(root: &mut Client, request: v1::ListNotificationsRequest) -> Vec<v1::Notification> {
    pages(root, request).await.0
}

/// Every notification of a tenant of this kind.
async fn told(root: &mut Client, tenant: &str, kind: NotificationKind) -> Vec<v1::Notification> {
    list(root, v1::ListNotificationsRequest { kind: kind.into(), page_size: 500, ..all_of(tenant) }).await
}

async fn mark(root: &mut Client, name: &str) -> Result<v1::Notification, Status> {
    let request = v1::MarkNotificationReadRequest { name: name.to_owned() };
    let marked = root.notifications.mark_notification_read(request).await?;
    Ok(marked.into_inner().notification.expect("a notification"))
}

fn mails_of(tenant: &str) -> v1::ListDeliveriesRequest {
    v1::ListDeliveriesRequest { parent: tenant.to_owned(), ..Default::default() }
}

/// Every delivery of a list, the newest first, and how long each page was.
async fn delivery_pages(root: &mut Client, mut request: v1::ListDeliveriesRequest) -> (Vec<v1::Delivery>, Vec<usize>) {
    let (mut listed, mut lengths) = (Vec::new(), Vec::new());
    loop {
        let page = root.notifications.list_deliveries(request.clone()).await.expect("a page").into_inner();
        lengths.push(page.deliveries.len());
        listed.extend(page.deliveries);
        assert!(lengths.len() < 1_000, "the list has no end");
        if page.next_page_token.is_empty() {
            return (listed, lengths);
        }
        request.page_token = page.next_page_token;
    }
}

async fn deliveries(root: &mut Client, request: v1::ListDeliveriesRequest) -> Vec<v1::Delivery> {
    delivery_pages(root, request).await.0
}

/// Whom the mails of the server went to, in alphabetical order.
fn recipients(sink: &Sink) -> Vec<String> {
    let mut recipients: Vec<String> = sink.mails().into_iter().flat_map(|mail| mail.recipients).collect();
    recipients.sort();
    recipients
}
