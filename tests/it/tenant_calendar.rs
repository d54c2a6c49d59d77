//! A tenant's time zone and warning hour: given, left to the defaults, edited one by one.

use claviger::proto::v1;
use prost_types::FieldMask;
use tonic::Status;

use crate::harness::{Client, Engine, TestApp, errors::bad_fields};

on_both_engines!(a_tenants_calendar_is_what_was_written, an_update_that_names_the_hour_must_give_it);

async fn create(root: &mut Client, id: &str, time_zone: &str, warning_hour: Option<i32>) -> v1::Tenant {
    let (display_name, time_zone) = (id.to_owned(), time_zone.to_owned());
    let tenant = v1::Tenant { display_name, time_zone, warning_hour, ..Default::default() };
    let request = v1::CreateTenantRequest { tenant_id: id.to_owned(), tenant: Some(tenant) };
    root.tenants.create_tenant(request).await.expect("a tenant").into_inner().tenant.expect("a tenant")
}

async fn update(root: &mut Client, tenant: v1::Tenant, paths: &[&str]) -> Result<v1::Tenant, Status> {
    let update_mask = Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() });
    let request = v1::UpdateTenantRequest { tenant: Some(tenant), update_mask, expected_revision: 0 };
    Ok(root.tenants.update_tenant(request).await?.into_inner().tenant.expect("a tenant"))
}

async fn get(root: &mut Client, name: &str) -> v1::Tenant {
    let got = root.tenants.get_tenant(v1::GetTenantRequest { name: name.to_owned() }).await.expect("a tenant");
    got.into_inner().tenant.expect("a tenant")
}

fn calendar(tenant: &v1::Tenant) -> (&str, Option<i32>) {
    (&tenant.time_zone, tenant.warning_hour)
}

async fn a_tenants_calendar_is_what_was_written(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    assert_eq!(calendar(&get(&mut root, "tenants/system").await), ("UTC", Some(9)));
    let cases = [
        ("a", "", None, ("UTC", Some(9))),
        ("b", "Asia/Kathmandu", None, ("Asia/Kathmandu", Some(9))),
        ("c", "", Some(0), ("UTC", Some(0))),
        ("d", "America/St_Johns", Some(23), ("America/St_Johns", Some(23))),
    ];
    for (id, zone, hour, expected) in cases {
        let made = create(&mut root, id, zone, hour).await;
        assert_eq!(calendar(&made), expected);
        assert_eq!(get(&mut root, &made.name).await, made);
    }
    let list = v1::ListTenantsRequest::default();
    let listed = root.tenants.list_tenants(list).await.expect("tenants").into_inner().tenants;
    assert_eq!(calendar(&listed[3]), ("America/St_Johns", Some(23)));

    let other = |time_zone: &str, warning_hour| v1::Tenant {
        name: "tenants/a".to_owned(),
        display_name: "not named".to_owned(),
        time_zone: time_zone.to_owned(),
        warning_hour,
        ..Default::default()
    };
    let edits = [
        ("time_zone", "Europe/Berlin", Some(1), ("Europe/Berlin", Some(9))),
        ("warning_hour", "Asia/Tokyo", Some(0), ("Europe/Berlin", Some(0))),
        ("warning_hour", "nowhere", Some(23), ("Europe/Berlin", Some(23))),
        ("time_zone", "UTC", Some(99), ("UTC", Some(23))),
    ];
    for (path, zone, hour, expected) in edits {
        let before = get(&mut root, "tenants/a").await;
        let edited = update(&mut root, other(zone, hour), &[path]).await.expect("updated");
        assert_eq!(calendar(&edited), expected);
        assert!(edited.revision > before.revision && edited.display_name == "a");
        assert_eq!(get(&mut root, "tenants/a").await, edited);
        assert_eq!(update(&mut root, other(zone, hour), &[path]).await.expect("a no-op"), edited);
    }
}

async fn an_update_that_names_the_hour_must_give_it(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let made = create(&mut root, "a", "Europe/Berlin", Some(7)).await;
    let empty = v1::Tenant { name: made.name.clone(), ..Default::default() };
    let status = update(&mut root, empty, &["time_zone", "warning_hour"]).await.expect_err("neither is given");
    assert_eq!(bad_fields(&status), ["tenant.time_zone", "tenant.warning_hour"]);
    assert_eq!(get(&mut root, &made.name).await, made);
}
