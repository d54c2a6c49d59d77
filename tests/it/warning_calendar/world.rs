//! Tenants in which things happen, in the service and in the oracle's books at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use chrono_tz::Tz;
use claviger::domain::Time;
use claviger::proto::v1;
use prost_types::{FieldMask, Timestamp};

use super::letters::Letter;
use super::oracle::{House, Life, Warned};
use crate::harness::Client;
use crate::rig::eventually;

const PATIENCE: Duration = Duration::from_secs(60);

/// Something that somebody does. What is done to a key is done to the last one of that service user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// A key that lives so long; `None` = for ever.
    Create(&'static str, Option<TimeDelta>),
    /// A key that expires then.
    CreateUntil(&'static str, Time),
    Revoke(&'static str),
    Delete(&'static str),
    /// With 24 hours of grace; the successor lives 20 days.
    Rotate(&'static str),
    /// By so much.
    Extend(&'static str, TimeDelta),
    Disable(&'static str),
    DisableOwner(&'static str),
    EnableOwner(&'static str),
}

/// A service and its tenants.
pub struct World {
    pub root: Client,
    pub houses: Vec<House>,
    pub letters: Vec<Letter>,
    /// By tenant and name.
    notices: BTreeMap<(String, String), v1::Notification>,
}

pub fn time(timestamp: Option<Timestamp>) -> Time {
    let Timestamp { seconds, nanos } = timestamp.expect("a time");
    Time::from_timestamp(seconds, nanos.try_into().expect("nanos")).expect("an instant")
}

pub fn timestamp(time: Time) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos().try_into().expect("nanos") }
}

fn duration(span: TimeDelta) -> prost_types::Duration {
    prost_types::Duration { seconds: span.num_seconds(), nanos: 0 }
}

impl World {
    pub fn new(root: Client) -> Self {
        Self { root, houses: Vec::new(), letters: Vec::new(), notices: BTreeMap::new() }
    }

    /// A tenant whose one subscriber is `ann@{id}.test`; answers its number.
    pub async fn add_house(&mut self, id: &str, zone: Tz, hour: u32) -> usize {
        let address = format!("ann@{id}.test");
        let house = self.add_house_without_people(id, zone, hour).await;
        self.root.create_user_group(&format!("tenants/{id}"), "ops", &[&address]).await;
        self.houses[house].subscribers.insert(address);
        house
    }

    /// The same without any people.
    pub async fn add_house_without_people(&mut self, id: &str, zone: Tz, hour: u32) -> usize {
        let tenant = v1::Tenant {
            display_name: id.to_owned(),
            time_zone: zone.name().to_owned(),
            warning_hour: Some(i32::try_from(hour).expect("an hour")),
            ..Default::default()
        };
        let request = v1::CreateTenantRequest { tenant_id: id.to_owned(), tenant: Some(tenant) };
        let made = self.root.tenants.create_tenant(request).await.expect("a tenant").into_inner();
        let name = made.tenant.expect("a tenant").name;
        let (subscribers, keys, away) = (BTreeSet::new(), Vec::new(), BTreeMap::new());
        self.houses.push(House { name, zone, hour, subscribers, keys, away });
        self.houses.len() - 1
    }

    /// Waits until the service, whose clock has just jumped, has looked at its database again.
    pub async fn wake(&mut self) {
        eventually(PATIENCE, "the service answers after a jump", async || {
            self.root.tenants.list_tenants(v1::ListTenantsRequest::default()).await.is_ok()
        })
        .await;
    }

    /// Does it, and keeps book with the times that the service answers.
    pub async fn act(&mut self, house: usize, deed: Deed) {
        self.wake().await;
        match deed {
            Deed::Create(owner, None) => self.create(house, owner, v1::CreateKeyRequest::default()).await,
            Deed::Create(owner, Some(life)) => {
                let request = v1::CreateKeyRequest { ttl: Some(duration(life)), ..Default::default() };
                self.create(house, owner, request).await;
            }
            Deed::CreateUntil(owner, expire) => {
                let key = v1::Key { expire_time: Some(timestamp(expire)), ..Default::default() };
                self.create(house, owner, v1::CreateKeyRequest { key: Some(key), ..Default::default() }).await;
            }
            Deed::Revoke(owner) | Deed::Delete(owner) => self.end(house, owner, deed).await,
            Deed::Rotate(owner) => self.rotate(house, owner).await,
            Deed::Extend(owner, span) => self.extend(house, owner, span).await,
            Deed::Disable(owner) => {
                let name = self.last(house, owner).name.clone();
                let request = v1::DisableKeyRequest { name, expected_revision: 0, wait_for_replicas: None };
                self.root.keys.disable_key(request).await.expect("disabled");
            }
            Deed::DisableOwner(owner) => {
                let name = self.owner(house, owner).await;
                let request = v1::DisableServiceUserRequest { name: name.clone(), expected_revision: 0 };
                let made = self.root.service_users.disable_service_user(request).await.expect("disabled").into_inner();
                let since = time(made.service_user.expect("a service user").update_time);
                self.houses[house].away.entry(name).or_default().push((since, None));
            }
            Deed::EnableOwner(owner) => {
                let name = self.owner(house, owner).await;
                let request = v1::EnableServiceUserRequest { name: name.clone(), expected_revision: 0 };
                let made = self.root.service_users.enable_service_user(request).await.expect("enabled").into_inner();
                let until = time(made.service_user.expect("a service user").update_time);
                let spans = self.houses[house].away.get_mut(&name).expect("it was away");
                spans.last_mut().expect("it was away").1 = Some(until);
            }
        }
    }

    async fn create(&mut self, house: usize, owner: &str, mut request: v1::CreateKeyRequest) {
        request.parent = self.owner(house, owner).await;
        request.key.get_or_insert_default().display_name = format!("a key of {owner}");
        let made = self.root.keys.create_key(request).await.expect("a key").into_inner();
        self.note(house, made.key.expect("a key"));
    }

    fn note(&mut self, house: usize, key: v1::Key) {
        let (create, expire) = (time(key.create_time), key.expire_time.map(|expire| time(Some(expire))));
        let owner = key.name.split("/keys/").next().expect("an owner").to_owned();
        let life = Life { name: key.name, owner, create, ends: vec![(create, expire)], gone: None, superseded: false };
        self.houses[house].keys.push(life);
    }

    async fn end(&mut self, house: usize, owner: &str, deed: Deed) {
        let (name, expected_revision) = (self.last(house, owner).name.clone(), 0);
        let keys = &mut self.root.keys;
        let key = if matches!(deed, Deed::Revoke(_)) {
            let request = v1::RevokeKeyRequest { name, expected_revision, ..Default::default() };
            keys.revoke_key(request).await.expect("revoked").into_inner().key
        } else {
            keys.delete_key(v1::DeleteKeyRequest { name, expected_revision }).await.expect("deleted").into_inner().key
        };
        self.last(house, owner).gone = Some(time(key.expect("a key").update_time));
    }

    async fn rotate(&mut self, house: usize, owner: &str) {
        let name = self.last(house, owner).name.clone();
        let request = v1::RotateKeyRequest { name, ttl: Some(duration(TimeDelta::days(20))), ..Default::default() };
        let made = self.root.keys.rotate_key(request).await.expect("rotated").into_inner();
        let old = made.predecessor.expect("the old key");
        let since = time(old.update_time);
        let last = self.last(house, owner);
        last.ends.push((since, Some(time(old.expire_time))));
        (last.gone, last.superseded) = (Some(since), true);
        self.note(house, made.key.expect("a key"));
    }

    async fn extend(&mut self, house: usize, owner: &str, span: TimeDelta) {
        let last = self.last(house, owner);
        let expire = last.ends.last().expect("an end").1.expect("it expires") + span;
        let key = v1::Key { name: last.name.clone(), expire_time: Some(timestamp(expire)), ..Default::default() };
        let update_mask = Some(FieldMask { paths: vec!["expire_time".to_owned()] });
        let request = v1::UpdateKeyRequest { key: Some(key), update_mask, expected_revision: 0 };
        let made = self.root.keys.update_key(request).await.expect("extended").into_inner().key.expect("a key");
        self.last(house, owner).ends.push((time(made.update_time), Some(expire)));
    }

    fn last(&mut self, house: usize, owner: &str) -> &mut Life {
        let owner = format!("{}/serviceUsers/{owner}", self.houses[house].name);
        self.houses[house].keys.iter_mut().rev().find(|key| key.owner == owner).expect("a key")
    }

    /// The service user's name; it is made when it is needed first.
    async fn owner(&mut self, house: usize, owner: &str) -> String {
        let house = &self.houses[house];
        let name = format!("{}/serviceUsers/{owner}", house.name);
        if !house.keys.iter().any(|key| key.owner == name) {
            self.root.create_service_user(&house.name, owner).await;
        }
        name
    }

    /// Reads all notifications: they are kept for 90 days, so a longer walk looks at them on its way.
    pub async fn read_notifications(&mut self) {
        self.wake().await;
        for house in &self.houses {
            let mut page_token = String::new();
            loop {
                let parent = house.name.clone();
                let request = v1::ListNotificationsRequest { parent, page_size: 500, page_token, ..Default::default() };
                let page = self.root.notifications.list_notifications(request).await.expect("a page").into_inner();
                for notice in page.notifications {
                    self.notices.insert((house.name.clone(), notice.name.clone()), notice);
                }
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
        }
    }

    pub fn notices(&self, house: &House, kind: v1::NotificationKind) -> Vec<&v1::Notification> {
        let own = self.notices.iter().filter(|((tenant, _), _)| *tenant == house.name);
        own.map(|(_, notice)| notice).filter(|notice| notice.kind() == kind).collect()
    }

    /// Compares everything with the oracle: all that happened within `from ≤ s < to`, each at most `late` after its
    /// instant. Answers how many warnings and mails there were.
    pub fn check(&self, from: Time, to: Time, late: TimeDelta) -> (usize, usize) {
        let mut counts = (0, 0);
        for house in &self.houses {
            let expected = house.calendar(from, to);
            counts.0 += self.check_notifications(house, &expected, late);
            counts.1 += self.check_letters(house, &expected, late);
            self.check_ends(house, to);
        }
        assert_eq!(counts.1, self.letters.len(), "no mail about another tenant");
        counts
    }

    fn check_notifications(&self, house: &House, expected: &BTreeMap<Time, Warned>, late: TimeDelta) -> usize {
        let mut told: BTreeMap<Time, Warned> = BTreeMap::new();
        let notices = self.notices(house, v1::NotificationKind::KeyExpiring);
        for notice in &notices {
            let at = punctual(house, expected, time(notice.create_time), late);
            let twice = told.entry(at).or_default().insert(notice.key.clone(), notice.days_left.into());
            assert!(twice.is_none(), "told twice at {at}: {notice:?}");
        }
        assert_eq!(differences(expected, &told), Vec::<String>::new(), "notifications of {}", house.name);
        notices.len()
    }

    fn check_letters(&self, house: &House, expected: &BTreeMap<Time, Warned>, late: TimeDelta) -> usize {
        let own: Vec<&Letter> = self.letters.iter().filter(|letter| letter.tenant == house.name).collect();
        for address in &house.subscribers {
            let mut told: BTreeMap<Time, Warned> = BTreeMap::new();
            for letter in own.iter().filter(|letter| letter.to == *address) {
                assert_eq!(letter.day, house.day(letter.date).to_string(), "{letter:?}");
                let at = punctual(house, expected, letter.date, late);
                assert!(told.insert(at, letter.keys.clone()).is_none(), "{address} got two mails at {at}");
            }
            assert_eq!(differences(expected, &told), Vec::<String>::new(), "mails to {address}");
        }
        assert_eq!(own.len(), expected.len() * house.subscribers.len(), "mails of {} to subscribers alone", house.name);
        own.len()
    }

    fn check_ends(&self, house: &House, now: Time) {
        let told = self.notices(house, v1::NotificationKind::KeyExpired);
        let keys: BTreeSet<String> = told.iter().map(|notice| notice.key.clone()).collect();
        assert_eq!(keys, house.expired(now), "keys of {} that expired", house.name);
        assert_eq!(keys.len(), told.len(), "each is told once");
        let rotated = self.notices(house, v1::NotificationKind::KeyRotated);
        let mut rotated: Vec<String> = rotated.iter().map(|notice| notice.key.clone()).collect();
        rotated.sort();
        let mut superseded: Vec<_> =
            house.keys.iter().filter(|key| key.superseded).map(|key| key.name.clone()).collect();
        superseded.sort();
        assert_eq!(rotated, superseded, "keys of {} that were rotated", house.name);
    }
}

/// The instant that `told` belongs to: the last one, at most `late` before.
fn punctual(house: &House, expected: &BTreeMap<Time, Warned>, told: Time, late: TimeDelta) -> Time {
    // A mail's date is cut to seconds.
    let last = expected.range(..=told + TimeDelta::milliseconds(999)).next_back().map(|(at, _)| *at);
    let punctual = last.filter(|at| told - *at <= late);
    punctual.unwrap_or_else(|| panic!("{} was told something at {told}, the last instant is {last:?}", house.name))
}

fn differences(expected: &BTreeMap<Time, Warned>, told: &BTreeMap<Time, Warned>) -> Vec<String> {
    let instants: BTreeSet<&Time> = expected.keys().chain(told.keys()).collect();
    let differ = instants.into_iter().filter(|at| expected.get(at) != told.get(at));
    differ.map(|at| format!("{at}: expected {:?}, told {:?}", expected.get(at), told.get(at))).collect()
}
