//! The server's only user of tonic and of the generated types: what comes in is converted once and refused with every wrong
//! field named; what goes out is complete. Knows the authority, the verifier and the domain, never the database.

pub mod audit;
pub mod caller;
mod connection;
pub mod convert;
pub mod desk;
pub mod durations;
pub mod fast_lane;
pub mod health;
pub mod key_groups;
pub mod keys;
pub mod layers;
mod methods;
pub mod notifications;
mod places;
mod preface;
pub mod recognised;
pub mod server;
pub mod service_users;
pub mod status;
pub mod stream_end;
pub mod streams;
pub mod tenants;
pub mod told;
pub mod user_groups;
pub mod verification;
pub mod watch;
mod workers;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::authority::Authority;
use crate::clock::Clock;
use crate::domain::limits::{LARGE_MESSAGE_BYTES, SMALL_MESSAGE_BYTES};
use crate::notify::Warnings;
pub use crate::proto::DESCRIPTORS;
use crate::proto::v1::{
    audit_service_server::AuditServiceServer, key_group_service_server::KeyGroupServiceServer,
    key_service_server::KeyServiceServer, notification_service_server::NotificationServiceServer,
    service_user_service_server::ServiceUserServiceServer, tenant_service_server::TenantServiceServer,
    user_group_service_server::UserGroupServiceServer, verification_service_server::VerificationServiceServer,
};
use crate::verify::{Verifier, refresh::Refresher, tally::Tally};

use caller::Gate;
use convert::check::Reading;
use desk::Desk;
use durations::Durations;
use layers::Services;
use watch::Watches;

/// The descriptors for reflection couldn't be read: a defect of the build.
pub type ReflectionError = tonic_reflection::server::Error;

/// Every service, under its name. Reflection in both versions, with the `google.rpc` descriptors, so that grpcurl prints
/// error details. Streams end with `leaving`. `host`: where callers reach it. `reading`: of Envoy's questions.
#[expect(clippy::too_many_arguments, reason = "each is a part of the house that calls go to")]
pub fn services(
    verifier: &Arc<Verifier>,
    refresher: &Refresher,
    tally: &Arc<Tally>,
    durations: &Arc<Durations>,
    authority: &Authority,
    warnings: &Warnings,
    clock: &Clock,
    leaving: &CancellationToken,
    health: health::Service,
    host: Arc<str>,
    reading: Arc<Reading>,
) -> Result<Services<verification::Verification>, ReflectionError> {
    let gate = Gate::new(Arc::clone(verifier), authority.clone(), clock.clone());
    let desk = Desk::new(gate.clone(), authority.clone());
    let keys =
        KeyServiceServer::new(keys::Keys::new(desk.clone(), host)).max_decoding_message_size(LARGE_MESSAGE_BYTES);
    let key_groups = KeyGroupServiceServer::new(key_groups::KeyGroups::new(desk.clone()))
        .max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let watches = Watches::new(refresher.clone(), clock.clone());
    let (verifier, tally) = (Arc::clone(verifier), Arc::clone(tally));
    let verification = verification::Verification::new(gate, verifier, tally, watches, reading, leaving.clone());
    let routed = VerificationServiceServer::new(verification.clone()).max_decoding_message_size(LARGE_MESSAGE_BYTES);
    let tenants =
        TenantServiceServer::new(tenants::Tenants::new(desk.clone())).max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let service_users = ServiceUserServiceServer::new(service_users::ServiceUsers::new(desk.clone()))
        .max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let notifications = notifications::Notifications::new(desk.clone(), warnings.clone());
    let notifications = NotificationServiceServer::new(notifications).max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let user_groups = UserGroupServiceServer::new(user_groups::UserGroups::new(desk.clone()))
        .max_decoding_message_size(LARGE_MESSAGE_BYTES);
    let audit = AuditServiceServer::new(audit::Audit::new(desk)).max_decoding_message_size(SMALL_MESSAGE_BYTES);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Each version knows itself only; together, a client of either sees both.
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(routed)
        .add_service(keys)
        .add_service(key_groups)
        .add_service(tenants)
        .add_service(service_users)
        .add_service(notifications)
        .add_service(user_groups)
        .add_service(audit)
        .add_service(health.max_decoding_message_size(SMALL_MESSAGE_BYTES))
        .add_service(reflection().build_v1()?.max_decoding_message_size(SMALL_MESSAGE_BYTES))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(SMALL_MESSAGE_BYTES));
    Ok(Services::new(routes, verification, Arc::clone(durations)))
}
