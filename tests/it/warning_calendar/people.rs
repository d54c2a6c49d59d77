//! Who gets the mail of a day.

use chrono::TimeDelta;
use chrono_tz::Tz;
use claviger::domain::Time;
use claviger::proto::v1;
use prost_types::FieldMask;

use super::walk::Ground;
use super::world::{Deed, timestamp};
use crate::harness::Engine;

fn at(text: &str) -> Time {
    text.parse().expect("an instant")
}

fn member(email: &str) -> v1::UserGroupMember {
    v1::UserGroupMember { email: email.to_owned(), ..Default::default() }
}

async fn create(ground: &mut Ground, tenant: &str, id: &str, alerts: bool, members: Vec<v1::UserGroupMember>) {
    let group = v1::UserGroup { display_name: id.to_owned(), account_alerts: alerts, members, ..Default::default() };
    let (parent, user_group_id) = (tenant.to_owned(), id.to_owned());
    let request = v1::CreateUserGroupRequest { parent, user_group_id, user_group: Some(group) };
    ground.world.root.user_groups.create_user_group(request).await.expect("a user group");
}

async fn update(ground: &mut Ground, name: &str, alerts: bool, members: &[&str]) {
    ground.world.wake().await;
    let members = members.iter().map(|email| member(email)).collect();
    let group = v1::UserGroup { name: name.to_owned(), account_alerts: alerts, members, ..Default::default() };
    let update_mask = Some(FieldMask { paths: vec!["account_alerts".to_owned(), "members".to_owned()] });
    let request = v1::UpdateUserGroupRequest { user_group: Some(group), update_mask, expected_revision: 0 };
    ground.world.root.user_groups.update_user_group(request).await.expect("updated");
}

/// Rings at this time; answers to whom mails went, as tenant and folded address.
async fn told(ground: &mut Ground, time: &str) -> Vec<(String, String)> {
    ground.go_to(at(time));
    ground.ring().await;
    let letters = std::mem::take(&mut ground.world.letters);
    let mut told: Vec<_> = letters.into_iter().map(|letter| (letter.tenant, letter.to.to_lowercase())).collect();
    told.sort();
    told
}

pub async fn people_get_one_mail_or_none(engine: Engine) {
    let Some(mut ground) = Ground::start(engine, at("2027-05-01T12:00:00Z")).await else { return };
    for id in ["acme", "bolt", "calm"] {
        let house = ground.world.add_house_without_people(id, Tz::UTC, 9).await;
        let life = if id == "calm" { TimeDelta::days(90) } else { TimeDelta::days(10) };
        ground.world.act(house, Deed::Create("billing", Some(life))).await;
    }
    let acme = "tenants/acme";
    let unsubscribe_time = Some(timestamp(at("2027-04-01T00:00:00Z")));
    let gone = v1::UserGroupMember { unsubscribe_time, ..member("gone@acme.test") };
    create(&mut ground, acme, "ops", true, vec![member("ann@acme.test"), member("bob@acme.test"), gone]).await;
    create(&mut ground, acme, "more", true, vec![member("ann@ACME.test"), member("eve@acme.test")]).await;
    create(&mut ground, acme, "quiet", false, vec![member("bob@acme.test"), member("carl@acme.test")]).await;
    create(&mut ground, acme, "nobody", true, Vec::new()).await;
    create(&mut ground, "tenants/bolt", "ops", true, vec![member("ann@acme.test")]).await;
    create(&mut ground, "tenants/calm", "ops", true, vec![member("ann@acme.test")]).await;
    for day in ["2027-05-02", "2027-05-03"] {
        assert_eq!(told(&mut ground, &format!("{day}T08:59:59.999999Z")).await, []);
        let names = [(acme, "ann@acme.test"), (acme, "bob@acme.test"), (acme, "eve@acme.test")];
        let names = names.into_iter().chain([("tenants/bolt", "ann@acme.test")]);
        let expected: Vec<_> = names.map(|(tenant, to)| (tenant.to_owned(), to.to_owned())).collect();
        assert_eq!(told(&mut ground, &format!("{day}T09:00:00Z")).await, expected);
        assert_eq!(told(&mut ground, &format!("{day}T23:59:59Z")).await, []);
    }
}

pub async fn the_groups_of_the_hour_count(engine: Engine) {
    let Some(mut ground) = Ground::start(engine, at("2027-05-01T12:00:00Z")).await else { return };
    let house = ground.world.add_house_without_people("acme", Tz::UTC, 9).await;
    ground.world.act(house, Deed::Create("billing", Some(TimeDelta::days(12)))).await;
    let acme = "tenants/acme";
    let ops = "tenants/acme/userGroups/ops";
    let of = |address: &str| vec![(acme.to_owned(), address.to_owned())];
    assert_eq!(told(&mut ground, "2027-05-02T09:00:00Z").await, []);
    create(&mut ground, acme, "ops", true, vec![member("ann@acme.test")]).await;
    assert_eq!(told(&mut ground, "2027-05-02T10:00:00Z").await, [], "the day's mails are made at the hour");
    assert_eq!(told(&mut ground, "2027-05-03T09:00:00Z").await, of("ann@acme.test"));
    ground.go_to(at("2027-05-04T08:59:00Z"));
    update(&mut ground, ops, true, &["bob@acme.test"]).await;
    assert_eq!(told(&mut ground, "2027-05-04T09:00:00Z").await, of("bob@acme.test"));
    update(&mut ground, ops, false, &["bob@acme.test"]).await;
    assert_eq!(told(&mut ground, "2027-05-05T09:00:00Z").await, []);
    update(&mut ground, ops, true, &["ann@acme.test"]).await;
    assert_eq!(told(&mut ground, "2027-05-06T09:00:00Z").await, of("ann@acme.test"));
    ground.world.wake().await;
    let request = v1::DeleteUserGroupRequest { name: ops.to_owned(), expected_revision: 0 };
    ground.world.root.user_groups.delete_user_group(request).await.expect("deleted");
    assert_eq!(told(&mut ground, "2027-05-07T09:00:00Z").await, []);
    ground.world.read_notifications().await;
    let book = &ground.world.houses[house];
    let notices = ground.world.notices(book, v1::NotificationKind::KeyExpiring);
    let mut left: Vec<i32> = notices.iter().map(|notice| notice.days_left).collect();
    left.sort_unstable();
    assert_eq!(left, [6, 7, 8, 9, 10, 11], "in-app they are there whoever gets mails");
}
