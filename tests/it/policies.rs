//! What a tenant demands of its keys, and what a key says of its bearer.

use claviger::proto::v1;
use prost_types::{Duration, FieldMask};
use sea_orm::ConnectionTrait;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{
    Client, Engine, TestApp,
    errors::{bad_fields, reason},
};
use crate::rig::database;

on_both_engines!(
    a_key_says_of_its_bearer_what_it_was_made_with,
    role_and_integration_type_come_from_the_policy,
    a_policy_names_every_rule_that_is_broken,
    a_policy_is_never_retroactive,
    only_an_administrator_sets_a_policy,
    a_key_made_disabled_waits_to_be_enabled,
    who_manages_own_keys_gives_no_other_bearer,
    a_rule_of_a_later_version_stops_new_keys_and_nothing_else,
);

const DAY: i64 = 86_400;

/// A service, with the service user `billing` of tenant `acme`.
struct Scene {
    app: TestApp,
    root: Client,
    tenant: String,
    owner: String,
}

impl Scene {
    async fn set(engine: Engine) -> Option<Self> {
        let app = TestApp::start(engine).await?;
        let mut root = app.root().await;
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        Some(Self { app, root, tenant, owner })
    }

    async fn demand(&mut self, policy: v1::TenantPolicy) -> v1::Tenant {
        set_policy(&mut self.root, &self.tenant, policy).await.expect("set")
    }

    async fn create(&mut self, key: v1::Key, days: i64) -> Result<v1::CreateKeyResponse, Status> {
        create(&mut self.root, &self.owner, key, days).await
    }

    async fn update(&mut self, key: v1::Key, path: &str) -> Result<v1::Key, Status> {
        let update_mask = Some(FieldMask { paths: vec![path.to_owned()] });
        let request = v1::UpdateKeyRequest { key: Some(key), update_mask, expected_revision: 0 };
        Ok(self.root.keys.update_key(request).await?.into_inner().key.expect("a key"))
    }

    async fn rotate(&mut self, name: &str, days: i64) -> Result<v1::RotateKeyResponse, Status> {
        let request = v1::RotateKeyRequest { name: name.to_owned(), ttl: ttl(days), ..Default::default() };
        Ok(self.root.keys.rotate_key(request).await?.into_inner())
    }
}

/// 0 days: for ever.
async fn create(root: &mut Client, owner: &str, key: v1::Key, days: i64) -> Result<v1::CreateKeyResponse, Status> {
    let request =
        v1::CreateKeyRequest { parent: owner.to_owned(), key: Some(key), ttl: ttl(days), ..Default::default() };
    Ok(root.keys.create_key(request).await?.into_inner())
}

fn ttl(days: i64) -> Option<Duration> {
    (days > 0).then(|| Duration { seconds: days * DAY, nanos: 0 })
}

pub async fn set_policy(client: &mut Client, name: &str, policy: v1::TenantPolicy) -> Result<v1::Tenant, Status> {
    let tenant = v1::Tenant { name: name.to_owned(), policy: Some(policy), ..Default::default() };
    let update_mask = Some(FieldMask { paths: vec!["policy".to_owned()] });
    let request = v1::UpdateTenantRequest { tenant: Some(tenant), update_mask, expected_revision: 0 };
    Ok(client.tenants.update_tenant(request).await?.into_inner().tenant.expect("a tenant"))
}

fn plain() -> v1::Key {
    v1::Key { display_name: "a key".to_owned(), ..Default::default() }
}

fn described(role: &str, on_behalf_of: &str, integration_type: &str) -> v1::Key {
    let [role, on_behalf_of, integration_type] = [role, on_behalf_of, integration_type].map(str::to_owned);
    v1::Key { role, on_behalf_of, integration_type, ..plain() }
}

/// The rules that a refusal names; they are named twice.
fn broken<T: std::fmt::Debug>(refused: Result<T, Status>) -> Vec<String> {
    let status = refused.expect_err("the policy says no");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "POLICY_VIOLATED"));
    let details = status.get_error_details();
    let failure = details.precondition_failure().expect("a PreconditionFailure");
    let rules: Vec<_> = failure.violations.iter().map(|violation| violation.r#type.clone()).collect();
    assert!(failure.violations.iter().all(|violation| violation.subject == "tenants/acme"));
    assert_eq!(details.error_info().expect("a reason").metadata["rules"], rules.join(", "));
    rules
}

async fn a_key_says_of_its_bearer_what_it_was_made_with(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    scene
        .demand(v1::TenantPolicy {
            allowed_roles: vec!["Admin".to_owned()],
            integration_types: vec!["github".to_owned()],
            ..Default::default()
        })
        .await;
    let told = |answer: &v1::VerifyResponse| {
        [answer.role.clone(), answer.on_behalf_of.clone(), answer.integration_type.clone()]
    };
    for (said, expected) in [
        (described("", "", ""), ["member", "", ""]),
        (described("member", "", ""), ["member", "", ""]),
        (described("Admin", "Jürgen Müller", "github"), ["Admin", "Jürgen Müller", "github"]),
        (described("", "ops@example.com", ""), ["member", "ops@example.com", ""]),
        (described("", "", "github"), ["member", "", "github"]),
    ] {
        let made = scene.create(said, 0).await.expect("made");
        let key = made.key.expect("a key");
        assert_eq!([&*key.role, &*key.on_behalf_of, &*key.integration_type], expected);
        let question = v1::VerifyRequest { secret: made.secret, ..Default::default() };
        let answer = scene.root.verify(question).await;
        assert_eq!((answer.verdict(), told(&answer)), (v1::Verdict::Valid, expected.map(str::to_owned)));
        for path in ["role", "on_behalf_of", "integration_type"] {
            let other = v1::Key { name: key.name.clone(), ..described("member", "x", "github") };
            let refused = scene.update(other, path).await.expect_err("fixed");
            assert_eq!(
                (refused.code(), bad_fields(&refused)),
                (Code::InvalidArgument, vec!["update_mask.paths[0]".to_owned()])
            );
        }
        let rotated = scene.rotate(&key.name, 0).await.expect("rotated");
        let successor = rotated.key.expect("a key");
        assert_eq!([&*successor.role, &*successor.on_behalf_of, &*successor.integration_type], expected);
        let question = v1::VerifyRequest { secret: rotated.secret, ..Default::default() };
        assert_eq!(told(&scene.root.verify(question).await), expected.map(str::to_owned));
    }
}

async fn role_and_integration_type_come_from_the_policy(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let rules = broken(scene.create(described("Admin", "", "github"), 0).await);
    assert_eq!(rules, ["allowed_roles", "integration_types"]);
    let policy = v1::TenantPolicy {
        allowed_roles: vec!["Admin".to_owned(), "Auditor".to_owned()],
        integration_types: vec!["github".to_owned(), "slack".to_owned()],
        ..Default::default()
    };
    assert_eq!(scene.demand(policy.clone()).await.policy, Some(policy));
    for (role, kind) in [("Admin", "slack"), ("Auditor", "github"), ("member", ""), ("", "")] {
        scene.create(described(role, "", kind), 0).await.expect("as the policy has it");
    }
    assert_eq!(broken(scene.create(described("admin", "", ""), 0).await), ["allowed_roles"], "case counts");
    assert_eq!(broken(scene.create(described("", "", "git"), 0).await), ["integration_types"]);

    let refused = scene.create(described("a b", &"x".repeat(201), "ä"), 0).await.expect_err("not even a role");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(bad_fields(&refused), ["key.role", "key.on_behalf_of", "key.integration_type"]);
    let bad = v1::TenantPolicy {
        max_lifetime: Some(Duration { seconds: 0, nanos: 0 }),
        allowed_roles: vec!["fine".to_owned(), String::new()],
        integration_types: vec!["x".to_owned(); 101],
        ..Default::default()
    };
    let refused = set_policy(&mut scene.root, "tenants/acme", bad).await.expect_err("no policy");
    let fields = ["tenant.policy.max_lifetime", "tenant.policy.allowed_roles[1]", "tenant.policy.integration_types"];
    assert_eq!((refused.code(), bad_fields(&refused)), (Code::InvalidArgument, fields.map(str::to_owned).to_vec()));
}

async fn a_policy_names_every_rule_that_is_broken(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let max_lifetime = ttl(90);
    scene
        .demand(v1::TenantPolicy { require_expiry: true, max_lifetime, require_networks: true, ..Default::default() })
        .await;
    let networks = || vec!["192.0.2.0/24".to_owned()];
    let rules = broken(scene.create(described("Admin", "", ""), 0).await);
    assert_eq!(rules, ["require_expiry", "max_lifetime", "require_networks", "allowed_roles"]);
    let bound = v1::Key { allowed_networks: networks(), ..plain() };
    assert_eq!(broken(scene.create(bound.clone(), 91).await), ["max_lifetime"]);
    assert_eq!(broken(scene.create(plain(), 90).await), ["require_networks"]);
    let made = scene.create(bound, 90).await.expect("exactly as long as allowed").key.expect("a key");

    let later = made.expire_time.map(|time| prost_types::Timestamp { seconds: time.seconds + 1, ..time });
    let name = || made.name.clone();
    let edited = v1::Key { name: name(), expire_time: later, ..plain() };
    assert_eq!(broken(scene.update(edited, "expire_time").await), ["max_lifetime"], "it counts from the creation");
    let edited = v1::Key { name: name(), ..plain() };
    assert_eq!(broken(scene.update(edited.clone(), "expire_time").await), ["require_expiry", "max_lifetime"]);
    assert_eq!(broken(scene.update(edited, "allowed_networks").await), ["require_networks"]);
    assert_eq!(broken(scene.rotate(&made.name, 91).await), ["max_lifetime"]);
    scene.rotate(&made.name, 0).await.expect("its lifetime again");
}

async fn a_policy_is_never_retroactive(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    scene.demand(v1::TenantPolicy { allowed_roles: vec!["Admin".to_owned()], ..Default::default() }).await;
    let made = scene.create(described("Admin", "", ""), 0).await.expect("made");
    let key = made.key.expect("a key");
    scene.demand(v1::TenantPolicy { require_expiry: true, require_networks: true, ..Default::default() }).await;
    assert_eq!(scene.root.verdict(&made.secret).await, v1::Verdict::Valid, "it goes on as it is");
    let edited = v1::Key { name: key.name.clone(), display_name: "another".to_owned(), ..Default::default() };
    scene.update(edited, "display_name").await.expect("what isn't edited isn't asked about");
    assert_eq!(broken(scene.rotate(&key.name, 0).await), ["require_expiry"], "a successor is a new key");
    let rotated = scene.rotate(&key.name, 30).await.expect("networks and role are copied, whatever they are");
    assert_eq!(scene.root.verdict(&rotated.secret).await, v1::Verdict::Valid);
    // Away again, as a whole.
    assert_eq!(scene.demand(v1::TenantPolicy::default()).await.policy, None);
    scene.create(plain(), 0).await.expect("anything goes");
}

async fn only_an_administrator_sets_a_policy(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (_, secret) = scene.root.create_key(&scene.owner, &["claviger:tenant.admin"]).await;
    let mut admin_of_acme = scene.root.with(Some(&secret));
    let refused = set_policy(&mut admin_of_acme, &scene.tenant, v1::TenantPolicy::default()).await;
    let refused = refused.expect_err("not its own policy");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "RIGHT_MISSING"));

    let policy = v1::TenantPolicy { require_expiry: true, max_lifetime: ttl(1), ..Default::default() };
    let tenant = v1::Tenant { display_name: "strict".to_owned(), policy: Some(policy.clone()), ..Default::default() };
    let request = v1::CreateTenantRequest { tenant_id: "strict".to_owned(), tenant: Some(tenant) };
    let made = scene.root.tenants.create_tenant(request).await.expect("made").into_inner().tenant.expect("a tenant");
    assert_eq!(made.policy, Some(policy.clone()));
    let got = scene.root.tenants.get_tenant(v1::GetTenantRequest { name: made.name.clone() }).await.expect("there");
    assert_eq!(got.into_inner().tenant.expect("a tenant").policy, Some(policy));
    assert_eq!(scene.demand(v1::TenantPolicy::default()).await.policy, None);
}

async fn a_key_made_disabled_waits_to_be_enabled(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let request = || v1::CreateKeyRequest {
        parent: scene.owner.clone(),
        key: Some(plain()),
        disabled: true,
        ..Default::default()
    };
    let made = scene.root.keys.create_key(request()).await.expect("made").into_inner();
    let key = made.key.expect("a key");
    assert_eq!(key.state(), v1::KeyState::Disabled);
    assert_eq!(scene.root.verdict(&made.secret).await, v1::Verdict::Disabled);
    let enable = v1::EnableKeyRequest { name: key.name, ..Default::default() };
    let enabled = scene.root.keys.enable_key(enable).await.expect("enabled").into_inner().key.expect("a key");
    assert_eq!(enabled.state(), v1::KeyState::Enabled);
    assert_eq!(scene.root.verdict(&made.secret).await, v1::Verdict::Valid);
    for _ in 1..10 {
        scene.root.keys.create_key(request()).await.expect("made");
    }
    let refused = scene.root.keys.create_key(request()).await.expect_err("the eleventh");
    assert_eq!(reason(&refused), "KEY_LIMIT_REACHED", "keys that wait count");
}

async fn who_manages_own_keys_gives_no_other_bearer(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    scene.demand(v1::TenantPolicy { allowed_roles: vec!["Admin".to_owned()], ..Default::default() }).await;
    let own = v1::Key { scopes: vec!["claviger:keys.self".to_owned()], ..described("Admin", "Ada", "") };
    let secret = scene.create(own, 0).await.expect("made").secret;
    let mut caller = scene.root.with(Some(&secret));
    create(&mut caller, &scene.owner, described("Admin", "Ada", ""), 0).await.expect("as itself");
    for (role, on_behalf_of, what) in [
        ("", "Ada", "role"),
        ("member", "Ada", "role"),
        ("Admin", "", "on_behalf_of"),
        ("Admin", "Bob", "on_behalf_of"),
    ] {
        let refused = create(&mut caller, &scene.owner, described(role, on_behalf_of, ""), 0).await.expect_err("wider");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "WIDER_THAN_CALLER"));
        assert_eq!(refused.get_error_details().error_info().expect("a reason").metadata["what"], what);
    }
}

/// Two versions work side by side for a while; the older one can't judge by a rule that it doesn't know.
async fn a_rule_of_a_later_version_stops_new_keys_and_nothing_else(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let made = scene.create(plain(), 0).await.expect("made");
    let (name, secret) = (made.key.expect("a key").name, made.secret);
    let sql = r#"UPDATE tenant SET policy = '{"require_moon_phase":true}' WHERE id = 'acme'"#;
    database(&scene.app.place).await.execute_unprepared(sql).await.expect("set");
    let refused = scene.create(plain(), 0).await.expect_err("it can't be judged");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Internal, "INTERNAL"));
    let edited = v1::Key { name: name.clone(), display_name: "another".to_owned(), ..Default::default() };
    scene.update(edited, "display_name").await.expect("no rule is asked");
    assert_eq!(scene.root.verdict(&secret).await, v1::Verdict::Valid);
    let disable = v1::DisableKeyRequest { name: name.clone(), ..Default::default() };
    scene.root.keys.disable_key(disable).await.expect("disabled");
    let revoke = v1::RevokeKeyRequest { name, ..Default::default() };
    scene.root.keys.revoke_key(revoke).await.expect("a key can always be revoked");
    assert_eq!(scene.root.verdict(&secret).await, v1::Verdict::Revoked);
}
