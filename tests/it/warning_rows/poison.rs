//! Rows that no version of the service writes, 600 of them in front of a good one (a page holds 500): everybody else is
//! warned all the same, the run ends, and an error is logged.

use std::time::Duration;

use chrono::TimeDelta;
use claviger::notify::Report;
use tokio::time::{sleep, timeout};

use super::bulk::{Bulk, Keys, addresses};
use super::statements::Statements;
use crate::harness::{Engine, Mail, Sink, TestApp, app::start_of_time, sink::Options};
use crate::rig::select;

/// On one thread, so that a test hears its own log alone.
macro_rules! on_both_engines_alone {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::harness::Engine::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::harness::Engine::Postgres).await;
            })*
        }
    };
}

on_both_engines_alone!(
    keys_that_cannot_be_read_keep_no_other_from_being_warned,
    keys_that_cannot_be_read_lose_their_slot_when_they_expire,
    tenants_that_cannot_be_read_keep_no_other_from_being_warned,
    tenants_that_break_after_planning_keep_no_other_from_being_warned,
    members_that_cannot_be_read_keep_no_other_from_being_warned,
    subscribers_that_cannot_be_read_keep_no_other_from_being_warned,
    deliveries_that_cannot_be_read_are_given_up,
    a_service_user_that_cannot_be_read_keeps_no_other_from_being_warned,
);

const POISON: usize = 600;
const DUE: &str = "next_warning_time = '1970-01-01T00:00:00+00:00'";
const TODAY: &str = "2027-01-15";
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    app: TestApp,
    sink: Sink,
    bulk: Bulk,
    log: Statements,
}

impl Scene {
    /// Tenant `good` with `user-0`, a key that expires in five days, and ada.
    async fn new(engine: Engine) -> Option<Self> {
        let sink = Sink::start(Options::default()).await?;
        let url = sink.url();
        let settings = [
            ("CLAVIGER_SMTP_URL", url.as_str()),
            ("CLAVIGER_SMTP_INSECURE", "true"),
            ("CLAVIGER_MAIL_FROM", "Claviger <keys@example.com>"),
        ];
        let log = Statements::listen();
        let app = TestApp::start_with(engine, &settings).await?;
        let bulk = Bulk::into(&app.place, start_of_time()).await;
        bulk.tenants(&["good".to_owned()]).await;
        bulk.service_users("good", 1 + POISON).await;
        bulk.keys(&keys("good", 0..1)).await;
        bulk.user_group("good", "people", &["ada@example.com".to_owned()]).await;
        Some(Self { app, sink, bulk, log })
    }

    /// What is due is done, by us or by the service's own bell.
    async fn ring(&self) -> Report {
        let ring = async {
            loop {
                if let Some(run) = self.app.running.warnings().ring().await {
                    return run.expect("it succeeds");
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, ring).await.expect("it ends")
    }

    /// Of all runs so far: new warnings of keys, and mails. The service's own bell may have looked before all was there.
    async fn expect(&self, planned: i64, sent: i64) {
        self.bulk.execute(&format!("UPDATE tenant SET {DUE} WHERE id = 'good'")).await;
        self.ring().await;
        assert_eq!(self.count("notification WHERE kind = 'KEY_EXPIRING'").await, planned, "warnings");
        assert_eq!(self.count("delivery WHERE state = 'SENT'").await, sent, "mails");
    }

    /// The mails, which go to these.
    async fn mails_to(&self, addresses: &[&str]) -> Vec<Mail> {
        let mails = self.sink.mails();
        let mut recipients: Vec<&str> = mails.iter().map(|mail| mail.recipients[0].as_str()).collect();
        recipients.sort_unstable();
        assert_eq!(recipients, addresses);
        mails
    }

    async fn expect_quiet(&self) {
        assert_eq!(self.ring().await, Report::default(), "nothing goes round in circles");
    }

    fn expect_error(&self, part: &str) {
        let errors = self.log.errors();
        assert!(errors.iter().any(|error| error.contains(part)), "{errors:?}");
    }

    async fn count(&self, sql: &str) -> i64 {
        select::<i64>(&self.bulk.database, &format!("SELECT count(*) FROM {sql}")).await[0]
    }
}

fn keys(tenant: &str, service_users: std::ops::Range<usize>) -> Keys<'_> {
    Keys { tenant, service_users, slots: 0..1, expire_time: start_of_time() + TimeDelta::days(5) }
}

async fn poison_keys(bulk: &Bulk) {
    let expire_time = start_of_time() + TimeDelta::days(1);
    bulk.keys(&Keys { expire_time, ..keys("good", 1..1 + POISON) }).await;
    let poisoned =
        bulk.execute("UPDATE api_key SET scopes = 'pay' WHERE service_user_id NOT IN ('root', 'user-0')").await;
    assert_eq!(poisoned, POISON as u64);
}

async fn keys_that_cannot_be_read_keep_no_other_from_being_warned(engine: Engine) {
    let Some(scene) = Scene::new(engine).await else { return };
    poison_keys(&scene.bulk).await;
    scene.expect(1, 1).await;
    let mails = scene.mails_to(&["ada@example.com"]).await;
    assert!(mails[0].part("text/plain").contains("key 0 of 0"), "the one that can be read is listed");
    scene.expect_error("a key can't be understood");
    scene.expect_quiet().await;
}

async fn keys_that_cannot_be_read_lose_their_slot_when_they_expire(engine: Engine) {
    let Some(scene) = Scene::new(engine).await else { return };
    poison_keys(&scene.bulk).await;
    scene.app.advance(TimeDelta::days(6));
    let recorded = timeout(PATIENCE, scene.app.running.authority().record_expiry()).await.expect("it ends");
    assert_eq!(recorded.expect("recorded"), POISON as u64 + 1);
    assert_eq!(scene.count("api_key WHERE slot IS NOT NULL AND service_user_id <> 'root'").await, 0);
    assert_eq!(scene.count("api_key WHERE state = 'EXPIRED'").await, POISON as i64 + 1);
    assert_eq!(scene.count("notification WHERE kind = 'KEY_EXPIRED'").await, 1, "of the one that can be read");
    scene.expect_error("a key can't be understood");
    assert_eq!(scene.app.running.authority().record_expiry().await.expect("recorded"), 0);
}

/// `bad-000` and so on, which come first; the first three have a key and a subscriber.
async fn poison_tenants(bulk: &Bulk, count: usize) {
    let tenants: Vec<String> = (0..count).map(|number| format!("bad-{number:03}")).collect();
    bulk.tenants(&tenants).await;
    let poison = format!("UPDATE tenant SET time_zone = 'Mars/Olympus', {DUE} WHERE id LIKE 'bad-%'");
    assert_eq!(bulk.execute(&poison).await, count as u64);
    for tenant in tenants.iter().take(3) {
        bulk.service_users(tenant, 1).await;
        bulk.keys(&keys(tenant, 0..1)).await;
        bulk.user_group(tenant, "people", &[format!("{tenant}@example.com")]).await;
    }
}

async fn tenants_that_cannot_be_read_keep_no_other_from_being_warned(engine: Engine) {
    let Some(scene) = Scene::new(engine).await else { return };
    poison_tenants(&scene.bulk, POISON).await;
    scene.expect(1, 1).await;
    scene.mails_to(&["ada@example.com"]).await;
    scene.expect_error("a tenant can't be understood");
    scene.expect_quiet().await;
    assert_eq!(scene.log.errors(), [""; 0], "it isn't looked at every minute");
}

async fn tenants_that_break_after_planning_keep_no_other_from_being_warned(engine: Engine) {
    let Some(scene) = Scene::new(engine).await else { return };
    poison_tenants(&scene.bulk, 1).await;
    let subscribers = scene.bulk.subscribers("bad-000", &addresses("lost", POISON)).await;
    scene.bulk.user_group("bad-000", "lost", &addresses("lost", POISON)).await;
    let end = start_of_time() + TimeDelta::hours(10);
    scene.bulk.deliveries("bad-000", &subscribers, TODAY, "PENDING", end).await;
    scene.expect(1, 1).await;
    scene.mails_to(&["ada@example.com"]).await;
    scene.expect_error("can't be understood");
    scene.expect_quiet().await;
}

async fn members_that_cannot_be_read_keep_no_other_from_being_warned(engine: Engine) {
    let Some(scene) = Scene::new(engine).await else { return };
    let poison: Vec<String> = (0..POISON).map(|number| format!("!{number:03}, eve@example.com")).collect();
    scene.bulk.user_group("good", "poison", &poison).await;
    scene.expect(1, 1).await;
    scene.mails_to(&["ada@example.com"]).await;
    scene.expect_error("an address of a user group can't be understood");
    scene.expect_quiet().await;
}

/// Their addresses are bad, and an id is none.
async fn subscribers_that_cannot_be_read_keep_no_other_from_being_warned(engine: Engine) {
    let Some(scene) = Scene::new(engine).await else { return };
    let bad = addresses("bad", POISON);
    scene.bulk.user_group("good", "poison", &bad).await;
    scene.bulk.subscribers("good", &bad).await;
    assert_eq!(scene.bulk.execute("UPDATE subscriber SET email = 'a@b@c'").await, POISON as u64);
    scene.expect(1, 1).await;
    scene.mails_to(&["ada@example.com"]).await;
    scene.expect_error("a delivery can't be understood");
    scene.expect_quiet().await;

    scene.app.advance(TimeDelta::days(1));
    scene.bulk.execute("DELETE FROM delivery").await;
    scene.bulk.execute("DELETE FROM notification").await;
    let no_id = "UPDATE subscriber SET id = '!!!!!!!!!!!!!!!!!!!!!!' WHERE folded = 'bad00000@example.com'";
    assert_eq!(scene.bulk.execute(no_id).await, 1);
    scene.expect(1, 1).await;
}

async fn deliveries_that_cannot_be_read_are_given_up(engine: Engine) {
    let Some(scene) = Scene::new(engine).await else { return };
    let subscribers = scene.bulk.subscribers("good", &addresses("lost", POISON)).await;
    let end = start_of_time() + TimeDelta::hours(10);
    scene.bulk.deliveries("good", &subscribers, "2027-13-99", "PENDING", end).await;
    scene.expect(1, 1).await;
    scene.mails_to(&["ada@example.com"]).await;
    assert_eq!(scene.count("delivery WHERE state = 'GIVEN_UP'").await, POISON as i64);
    scene.expect_error("a delivery can't be understood");
    scene.expect_quiet().await;
}

async fn a_service_user_that_cannot_be_read_keeps_no_other_from_being_warned(engine: Engine) {
    let Some(scene) = Scene::new(engine).await else { return };
    let expire_time = start_of_time() + TimeDelta::days(1);
    scene.bulk.keys(&Keys { expire_time, ..keys("good", 1..1 + POISON) }).await;
    scene.bulk.execute("UPDATE service_user SET display_name = '' WHERE tenant_id = 'good' AND id <> 'user-0'").await;
    scene.expect(1, 1).await;
    let mails = scene.mails_to(&["ada@example.com"]).await;
    assert!(mails[0].part("text/plain").contains("key 0 of 0"), "the one that can be read is listed");
    scene.expect_error("a service user can't be understood");
    scene.expect_quiet().await;
}
