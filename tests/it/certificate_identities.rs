//! Names in client certificates: who may map them, to whom, and when they are free again. Who calls by them is in
//! certificate_callers.rs.

use claviger::proto::v1::{self, CertificateIdentity, ServiceUser, Verdict};
use futures_util::future::join_all;
use prost_types::FieldMask;
use sea_orm::ConnectionTrait;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Engine, TestApp, errors::reason};
use crate::rig::database;
use crate::rpcs::{ADMIN, AUDIT, READ, RIGHTS, VERIFY, WRITE};

on_both_engines!(
    only_admin_maps_a_name,
    a_name_belongs_to_one_service_user,
    of_sixteen_who_map_a_name_at_once_one_gets_it,
    what_is_deleted_frees_its_names,
    the_names_are_a_list_that_is_set_as_a_whole,
    whoever_enables_holds_what_the_names_give,
    a_name_that_cant_be_understood_spoils_no_key,
);

pub const NAME: &str = "spiffe://example.org/ns/prod/sa/billing";
const OTHER: &str = "dns:billing.example.org";

/// A name with these scopes.
pub fn identity(name: &str, scopes: &[&str]) -> CertificateIdentity {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    CertificateIdentity { subject_alternative_name: name.to_owned(), scopes }
}

/// Maps these names, and no others, to a service user.
pub async fn map(
    caller: &mut Client,
    service_user: &str,
    identities: &[CertificateIdentity],
) -> Result<ServiceUser, Status> {
    let service_user = ServiceUser {
        name: service_user.to_owned(),
        display_name: "not in the mask".to_owned(),
        certificate_identities: identities.to_vec(),
        ..Default::default()
    };
    update(caller, service_user, &["certificate_identities"]).await
}

async fn update(caller: &mut Client, service_user: ServiceUser, paths: &[&str]) -> Result<ServiceUser, Status> {
    let update_mask = Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() });
    let request = v1::UpdateServiceUserRequest { service_user: Some(service_user), update_mask, expected_revision: 0 };
    let answer = caller.service_users.update_service_user(request).await?.into_inner();
    Ok(answer.service_user.expect("a service user"))
}

async fn create(
    caller: &mut Client,
    tenant: &str,
    id: &str,
    identities: &[CertificateIdentity],
) -> Result<ServiceUser, Status> {
    let service_user =
        ServiceUser { display_name: id.to_owned(), certificate_identities: identities.to_vec(), ..Default::default() };
    let (parent, service_user_id) = (tenant.to_owned(), id.to_owned());
    let request = v1::CreateServiceUserRequest { parent, service_user_id, service_user: Some(service_user) };
    let answer = caller.service_users.create_service_user(request).await?.into_inner();
    Ok(answer.service_user.expect("a service user"))
}

async fn get(caller: &mut Client, name: &str) -> Result<ServiceUser, Status> {
    let request = v1::GetServiceUserRequest { name: name.to_owned() };
    let answer = caller.service_users.get_service_user(request).await?.into_inner();
    Ok(answer.service_user.expect("a service user"))
}

/// A caller with a key of this service user and these scopes.
async fn caller_with(root: &mut Client, owner: &str, scopes: &[&str]) -> Client {
    let (_, secret) = root.create_key(owner, scopes).await;
    root.with(Some(&secret))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, wanted: &str) -> Status {
    let status = outcome.expect_err(wanted);
    assert_eq!((status.code(), reason(&status).as_str()), (code, wanted), "{status:?}");
    status
}

fn metadata(status: &Status, key: &str) -> String {
    status.get_details_error_info().expect("ErrorInfo").metadata.get(key).cloned().unwrap_or_default()
}

async fn only_admin_maps_a_name(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    map(&mut root, &owner, &[identity(NAME, &[VERIFY])]).await.expect("mapped");
    let before = get(&mut root, &owner).await.expect("a service user");
    for (number, right) in RIGHTS.into_iter().filter(|&right| right != ADMIN).enumerate() {
        // All others at once are no admin either.
        let all: Vec<&str> = RIGHTS.into_iter().filter(|&right| right != ADMIN).collect();
        for (kind, scopes) in [(0, vec![right]), (1, all)] {
            let caller = root.create_service_user(&tenant, &format!("caller-{number}-{kind}")).await;
            let mut caller = caller_with(&mut root, &caller, &scopes).await;
            for names in [&[identity(OTHER, &[])][..], &[identity(NAME, &[VERIFY])], &[]] {
                let status = refused(map(&mut caller, &owner, names).await, Code::PermissionDenied, "RIGHT_MISSING");
                let missing = metadata(&status, "right");
                assert!(missing == ADMIN || (kind == 0 && missing == WRITE), "{right}: {missing}");
            }
            let made = create(&mut caller, &tenant, "new", &[identity(OTHER, &[])]).await;
            refused(made, Code::PermissionDenied, "RIGHT_MISSING");
        }
    }
    assert_eq!(get(&mut root, &owner).await.expect("a service user"), before, "nothing was changed");

    let reader = root.create_service_user(&tenant, "reader").await;
    let mut reader = caller_with(&mut root, &reader, &[READ]).await;
    assert_eq!(get(&mut reader, &owner).await.expect("a service user"), before, "whoever may read it sees its names");
    let renamed = ServiceUser { name: owner.clone(), display_name: "Billing".to_owned(), ..Default::default() };
    let writer = root.create_service_user(&tenant, "writer").await;
    let mut writer = caller_with(&mut root, &writer, &[WRITE]).await;
    let renamed = update(&mut writer, renamed, &["display_name"]).await.expect("edited");
    assert_eq!(renamed.certificate_identities, before.certificate_identities, "an edit of something else keeps them");
}

async fn a_name_belongs_to_one_service_user(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (acme, bolt) = (root.create_tenant("acme").await, root.create_tenant("bolt").await);
    let owner = create(&mut root, &acme, "billing", &[identity(NAME, &[VERIFY])]).await.expect("made").name;
    let other = root.create_service_user(&bolt, "billing").await;
    let before = get(&mut root, &other).await.expect("a service user");

    let taken = [identity(OTHER, &[]), identity(NAME, &["pay"])];
    let status = refused(map(&mut root, &other, &taken).await, Code::AlreadyExists, "CERTIFICATE_IDENTITY_TAKEN");
    assert_eq!(metadata(&status, "serviceUser"), owner);
    assert_eq!(metadata(&status, "subjectAlternativeName"), NAME);
    assert_eq!(get(&mut root, &other).await.expect("a service user"), before, "all or nothing");
    refused(create(&mut root, &bolt, "new", &taken).await, Code::AlreadyExists, "CERTIFICATE_IDENTITY_TAKEN");
    refused(get(&mut root, &format!("{bolt}/serviceUsers/new")).await, Code::NotFound, "RESOURCE_NOT_FOUND");

    map(&mut root, &owner, &[]).await.expect("taken away");
    let moved = map(&mut root, &other, &taken).await.expect("it is free");
    assert_eq!(moved.certificate_identities, taken);
    refused(map(&mut root, &owner, &[identity(NAME, &[])]).await, Code::AlreadyExists, "CERTIFICATE_IDENTITY_TAKEN");
    map(&mut root, &other, &[identity(OTHER, &[VERIFY])]).await.expect("its own may change");
    map(&mut root, &owner, &[identity(NAME, &[])]).await.expect("what it left out is free");
}

async fn of_sixteen_who_map_a_name_at_once_one_gets_it(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let mut owners = Vec::new();
    for number in 0..16 {
        owners.push(root.create_service_user(&tenant, &format!("user-{number}")).await);
    }
    let mapping = owners.iter().map(|owner| {
        let mut root = root.clone();
        async move { map(&mut root, owner, &[identity(NAME, &[])]).await }
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(mapping).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    for outcome in lost {
        refused(outcome, Code::AlreadyExists, "CERTIFICATE_IDENTITY_TAKEN");
    }
}

async fn what_is_deleted_frees_its_names(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let one = create(&mut root, &tenant, "one", &[identity(NAME, &[])]).await.expect("made").name;
    let delete = v1::DeleteServiceUserRequest { name: one.clone(), force: false, expected_revision: 0 };
    let deleted = root.service_users.delete_service_user(delete).await.expect("deleted").into_inner();
    assert_eq!(deleted.service_user.expect("a service user").certificate_identities, []);
    let two = create(&mut root, &tenant, "two", &[identity(NAME, &[]), identity(OTHER, &[])]).await.expect("free").name;
    let listing = v1::ListServiceUsersRequest { parent: tenant.clone(), show_deleted: true, ..Default::default() };
    let listed = root.service_users.list_service_users(listing).await.expect("a list").into_inner().service_users;
    let names: Vec<_> = listed.iter().map(|user| (user.name.as_str(), user.certificate_identities.len())).collect();
    assert_eq!(names, [(one.as_str(), 0), (two.as_str(), 2)]);

    let delete = v1::DeleteTenantRequest { name: tenant, force: true, expected_revision: 0 };
    root.tenants.delete_tenant(delete).await.expect("deleted");
    let bolt = root.create_tenant("bolt").await;
    create(&mut root, &bolt, "three", &[identity(NAME, &[]), identity(OTHER, &[])]).await.expect("free again");
}

async fn the_names_are_a_list_that_is_set_as_a_whole(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let names = [identity(OTHER, &[]), identity(NAME, &["b", "a", VERIFY])];
    let turned = [names[1].clone(), names[0].clone()];
    let made = create(&mut root, &tenant, "billing", &turned).await.expect("made");
    assert_eq!(made.certificate_identities, names, "ordered by name, scopes as they were written");
    assert_eq!(get(&mut root, &made.name).await.expect("a service user"), made);
    let again = map(&mut root, &made.name, &turned).await.expect("the same");
    assert_eq!(again, made, "what changes nothing takes no revision");
    let widened = [identity(NAME, &["b", "a", VERIFY, READ])];
    let changed = map(&mut root, &made.name, &widened).await.expect("others");
    assert_eq!((changed.certificate_identities.as_slice(), changed.revision), (&widened[..], made.revision + 1));
    assert_eq!(changed.display_name, made.display_name);
    let events = v1::ListAuditEventsRequest { parent: tenant, target: made.name, ..Default::default() };
    let events = root.audit.list_audit_events(events).await.expect("events").into_inner().audit_events;
    let mut told: Vec<_> = events.iter().map(|event| (event.method.as_str(), event.revision)).collect();
    told.sort_by_key(|(_, revision)| *revision);
    let method = |last| format!("claviger.v1.ServiceUserService/{last}");
    let (updated, created) = (method("UpdateServiceUser"), method("CreateServiceUser"));
    assert_eq!(told, [(created.as_str(), made.revision), (updated.as_str(), changed.revision)]);
}

async fn whoever_enables_holds_what_the_names_give(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = create(&mut root, &tenant, "billing", &[identity(NAME, &["pay", AUDIT])]).await.expect("made").name;
    let caller = root.create_service_user(&tenant, "caller").await;
    let mut writer = caller_with(&mut root, &caller, &[WRITE]).await;
    let mut holder = caller_with(&mut root, &caller, &[WRITE, AUDIT]).await;
    let disable = v1::DisableServiceUserRequest { name: owner.clone(), expected_revision: 0 };
    writer.service_users.disable_service_user(disable).await.expect("anybody may be stopped");
    let enable = v1::EnableServiceUserRequest { name: owner.clone(), expected_revision: 0 };
    let status = writer.service_users.enable_service_user(enable.clone()).await;
    refused(status, Code::PermissionDenied, "RIGHT_NOT_HELD");
    holder.service_users.enable_service_user(enable).await.expect("it holds it");
}

async fn a_name_that_cant_be_understood_spoils_no_key(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = create(&mut root, &tenant, "billing", &[identity(NAME, &[])]).await.expect("made").name;
    let (_, secret) = root.create_key(&owner, &[]).await;
    // As a later version might: this one must not deny the keys for it.
    let database = database(&app.place).await;
    let spoil = format!("UPDATE certificate_identity SET name = 'email:ops@example.org' WHERE name = '{NAME}'");
    assert_eq!(database.execute_unprepared(&spoil).await.expect("the schema can't know").rows_affected(), 1);
    database
        .execute_unprepared(
            "UPDATE revision SET value = value + 1;
             UPDATE service_user SET revision = (SELECT value FROM revision) WHERE tenant_id = 'acme'",
        )
        .await
        .expect("as a change does");
    let question = v1::VerifyRequest {
        secret,
        max_staleness: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
        ..Default::default()
    };
    assert_eq!(root.verify(question).await.verdict(), Verdict::Valid);
    refused(get(&mut root, &owner).await, Code::Internal, "INTERNAL");
    map(&mut root, &owner, &[identity(NAME, &[])]).await.expect_err("it can't be read, so nothing is decided about it");
}
