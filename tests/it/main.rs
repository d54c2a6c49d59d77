//! One test binary: a harness, and one file per behaviour. Tests talk to the real service over a socket, on a real SQLite
//! file and on a real PostgreSQL.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::wildcard_enum_match_arm, clippy::type_complexity, reason = "tables of tests are read, not extended")]

#[macro_use]
mod harness;

mod architecture;
mod backup;
mod bad_input;
mod certificate_callers;
mod certificate_identities;
mod chart;
mod client_cache;
mod client_layer;
mod climbing;
mod containerfile;
mod contract;
mod copy;
mod crash;
mod creates_together;
mod credential_files;
mod database_roles;
mod database_tls;
mod documents;
mod envoy;
mod failover;
mod forks;
mod freshness;
mod hostile_streams;
mod http_port;
mod interleavings;
mod key_groups;
mod last_used;
mod life_table;
mod lifecycle;
mod limit;
mod listening;
mod lists_and_audit;
mod lost_writes;
mod mail_crash;
mod mail_delivery;
mod mail_look;
mod mail_rig;
mod memory_verdicts;
mod notifications;
mod oracle;
mod outage;
mod outside_clients;
mod pgbouncer;
mod policies;
mod postgres_wire;
mod products;
mod prometheus;
mod raw;
mod readme;
mod replica_table;
mod replicas;
mod retrievable_keys;
mod rig;
mod rights_matrix;
mod rolling;
mod rpcs;
mod schema_upgrade;
mod secrets_leak;
mod settings;
mod side_by_side;
mod store_suite;
mod table_verdicts;
mod telemetry;
mod tenant_calendar;
mod test_ground;
mod tls;
mod transport;
mod user_groups;
mod verdicts;
mod verify_stream;
mod warning_calendar;
mod warning_rows;
mod warning_size;
mod watch_revocations;
mod wire;
