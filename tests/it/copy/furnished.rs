//! An installation with something in every table, and what must go on after it was moved.

use super::*;
use crate::certificate_identities::{NAME, identity, map};
use crate::harness::Client;
use crate::rig::Change;

const REQUEST: &str = "8c6f4b1e-2f4a-4a53-9d3e-4b7c5f0a9d21";

/// Each mail becomes a file in a folder, so that there are deliveries.
pub fn mails(url: &str) -> [(&str, &str); 2] {
    [("CLAVIGER_SMTP_URL", url), ("CLAVIGER_MAIL_FROM", "keys@example.com")]
}

pub struct Furnished {
    tenant: String,
    /// Has ten live keys.
    full: String,
    roomy: String,
    /// What each secret was worth.
    secrets: Vec<(String, Verdict)>,
    /// A request that is answered again, and its answer.
    replay: (v1::CreateKeyRequest, v1::CreateKeyResponse),
    /// Name and secret of a retrievable key.
    retrievable: (String, String),
    /// Name of a key with a notification.
    expiring: String,
    revision: i64,
}

impl Furnished {
    pub async fn make(app: &mut TestApp) -> Self {
        let mut root = app.root().await;
        let tenant = root.create_tenant("acme").await;
        allow_retrievable(&mut root, &tenant).await;
        root.create_key_group(&tenant, "partners").await;
        root.create_user_group(&tenant, "ops", &["ada@example.com", "bob@Example.com"]).await;
        let full = root.create_service_user(&tenant, "full").await;
        let roomy = root.create_service_user(&tenant, "roomy").await;
        let gone = root.create_service_user(&tenant, "gone").await;
        map(&mut root, &roomy, &[identity(NAME, &["pay"])]).await.expect("mapped");
        let mut secrets = Vec::new();
        for _ in 0..10 {
            secrets.push((root.create_key(&full, &["pay"]).await.1, Verdict::Valid));
        }
        for (change, verdict) in [
            (Change::Revoke, Verdict::Revoked),
            (Change::Disable, Verdict::Disabled),
            (Change::Delete, Verdict::Unknown),
            (Change::Rotate(0), Verdict::Revoked),
            (Change::Rotate(86_400), Verdict::Valid),
        ] {
            let (key, secret) = root.create_key(&roomy, &[]).await;
            let changed = change.make(&mut root, &roomy, &key.name).await.expect("changed");
            secrets.push((secret, verdict));
            secrets.extend(changed.secret.map(|secret| (secret, Verdict::Valid)));
        }
        secrets.push((root.create_key(&gone, &[]).await.1, Verdict::Unknown));
        let request = v1::DeleteServiceUserRequest { name: gone, force: true, ..Default::default() };
        root.service_users.delete_service_user(request).await.expect("deleted");

        let (retrievable, expiring) = (retrievable(&mut root, &roomy).await, expiring(&mut root, &roomy).await);
        app.advance(TimeDelta::hours(1));
        let report = app.running.warnings().ring().await.expect("a run").expect("done");
        assert_eq!((report.planned, report.sent), (1, 2), "{report:?}");
        for (secret, verdict) in &secrets {
            assert_eq!(root.verdict(secret).await, *verdict);
        }
        let replay = replayed(&mut root, &roomy).await;
        let revision = replay.1.key.as_ref().expect("a key").revision;
        Self { tenant, full, roomy, secrets, replay, retrievable, expiring, revision }
    }

    /// The parent of every key of the tenant.
    pub fn every_owner(&self) -> String {
        format!("{}/serviceUsers/-", self.tenant)
    }

    /// On the database that it was moved to.
    pub async fn goes_on(&mut self, app: &TestApp) {
        let mut root = app.root().await;
        for (secret, verdict) in &self.secrets {
            assert_eq!(root.verdict(secret).await, *verdict);
        }
        let again = root.keys.create_key(self.replay.0.clone()).await.expect("the same").into_inner();
        assert_eq!((again.secret, again.key), (self.replay.1.secret.clone(), self.replay.1.key.clone()));
        let eleventh = root.try_create_key(&self.full, &[]).await.expect_err("it has ten");
        assert_eq!((eleventh.code(), &*reason(&eleventh)), (Code::ResourceExhausted, "KEY_LIMIT_REACHED"));
        let reveal = v1::RevealKeyRequest { name: self.retrievable.0.clone() };
        assert_eq!(root.keys.reveal_key(reveal).await.expect("revealed").into_inner().secret, self.retrievable.1);

        let (made, secret) = root.create_key(&self.roomy, &[]).await;
        // The reveal has an event and no revision of its own, or one: whatever is made now is later.
        assert!(made.revision > self.revision, "{} after {}", made.revision, self.revision);
        assert_eq!(root.verdict(&secret).await, Verdict::Valid);
        Change::Revoke.make(&mut root, &self.roomy, &made.name).await.expect("revoked");
        assert_eq!(root.verdict(&secret).await, Verdict::Revoked);
        let report = app.running.warnings().ring().await.expect("a run").expect("done");
        assert_eq!((report.planned, report.sent), (0, 0), "who was warned today isn't again: {report:?}");
        let parent = self.tenant.clone();
        let request = v1::ListNotificationsRequest { parent, ..Default::default() };
        let told = root.notifications.list_notifications(request).await.expect("listed").into_inner().notifications;
        assert!(told.iter().any(|one| one.key == self.expiring), "{told:?}");
    }
}

async fn allow_retrievable(root: &mut Client, tenant: &str) {
    let policy = Some(v1::TenantPolicy { allow_retrievable: true, ..Default::default() });
    let tenant = Some(v1::Tenant { name: tenant.to_owned(), policy, ..Default::default() });
    let update_mask = Some(prost_types::FieldMask { paths: vec!["policy".to_owned()] });
    let request = v1::UpdateTenantRequest { tenant, update_mask, expected_revision: 0 };
    root.tenants.update_tenant(request).await.expect("set");
}

async fn replayed(root: &mut Client, owner: &str) -> (v1::CreateKeyRequest, v1::CreateKeyResponse) {
    let key = Some(v1::Key { display_name: "once".to_owned(), ..Default::default() });
    let (parent, request_id) = (owner.to_owned(), REQUEST.to_owned());
    let request = v1::CreateKeyRequest { parent, key, request_id, ..Default::default() };
    let answer = root.keys.create_key(request.clone()).await.expect("made").into_inner();
    (request, answer)
}

async fn retrievable(root: &mut Client, owner: &str) -> (String, String) {
    let key = Some(v1::Key { display_name: "copy me".to_owned(), retrievable: true, ..Default::default() });
    let request = v1::CreateKeyRequest { parent: owner.to_owned(), key, ..Default::default() };
    let made = root.keys.create_key(request).await.expect("made").into_inner();
    (made.key.expect("a key").name, made.secret)
}

/// Nine days before its end, in a group, with everything that a key may say of its bearer.
async fn expiring(root: &mut Client, owner: &str) -> String {
    let key = Some(v1::Key {
        display_name: "Zwölf 'Schlüssel'; \u{1f511}".to_owned(),
        description: "a\nb | c \\ d".to_owned(),
        scopes: vec!["pay".to_owned(), "ship:*".to_owned()],
        allowed_networks: vec!["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()],
        key_group: "tenants/acme/keyGroups/partners".to_owned(),
        on_behalf_of: "ada@example.com".to_owned(),
        ..Default::default()
    });
    let ttl = Some(prost_types::Duration { seconds: 9 * 86_400, nanos: 0 });
    let request = v1::CreateKeyRequest { parent: owner.to_owned(), key, ttl, ..Default::default() };
    root.keys.create_key(request).await.expect("made").into_inner().key.expect("a key").name
}

/// A replica is listed on PostgreSQL alone, and is copied as everything is.
pub async fn fill_what_no_service_fills_on_sqlite(place: &Place) {
    let sql = "INSERT INTO replica VALUES ('someone', 1, '2027-01-15T08:00:00+00:00', '2027-01-15T08:00:05.5+00:00')";
    contents::execute(&database(place).await, &[sql]).await;
}
