//! Notifications, deliveries and previews.

use crate::domain::{
    Refusal, Time,
    address::MailAddress,
    delivery::{Delivery, DeliveryState},
    ids::TenantId,
    limits,
    notification::{Kind, Notification, Subject, days_left},
    owner::Tenant,
};
use crate::notify::{
    Report,
    preview::{Preview, PreviewDay},
};
use crate::proto::v1;

use super::{fields::Fields, time};

/// Reads the `kind` of a filter.
pub fn kind(fields: &mut Fields, kind: i32) -> Option<Option<Kind>> {
    let kind = match v1::NotificationKind::try_from(kind) {
        Ok(v1::NotificationKind::Unspecified) => Ok(None),
        Ok(v1::NotificationKind::KeyExpiring) => Ok(Some(Kind::KeyExpiring)),
        Ok(v1::NotificationKind::KeyExpired) => Ok(Some(Kind::KeyExpired)),
        Ok(v1::NotificationKind::KeyRotated) => Ok(Some(Kind::KeyRotated)),
        Ok(v1::NotificationKind::LastSubscriberGone) => Ok(Some(Kind::LastSubscriberGone)),
        Err(_) => Err("is no kind of notification; leave it out for all".to_owned()),
    };
    fields.take("kind", kind)
}

/// Reads the `state` of a filter.
pub fn delivery_state(fields: &mut Fields, state: i32) -> Option<Option<DeliveryState>> {
    let state = match v1::DeliveryState::try_from(state) {
        Ok(v1::DeliveryState::Unspecified) => Ok(None),
        Ok(v1::DeliveryState::Pending) => Ok(Some(DeliveryState::Pending)),
        Ok(v1::DeliveryState::Sending) => Ok(Some(DeliveryState::Sending)),
        Ok(v1::DeliveryState::Sent) => Ok(Some(DeliveryState::Sent)),
        Ok(v1::DeliveryState::Refused) => Ok(Some(DeliveryState::Refused)),
        Ok(v1::DeliveryState::GivenUp) => Ok(Some(DeliveryState::GivenUp)),
        Ok(v1::DeliveryState::Skipped) => Ok(Some(DeliveryState::Skipped)),
        Err(_) => Err("is no state of a delivery; leave it out for all".to_owned()),
    };
    fields.take("state", state)
}

/// Reads the `recipient` of a filter; empty = anybody.
pub fn recipient(fields: &mut Fields, recipient: &str) -> Option<Option<MailAddress>> {
    if recipient.is_empty() {
        return Some(None);
    }
    fields.take("recipient", MailAddress::parse(recipient)).map(Some)
}

/// Reads a PreviewWarningsRequest.
pub fn preview(request: &v1::PreviewWarningsRequest, now: Time) -> Result<(TenantId, Time, Time), Refusal> {
    let mut fields = Fields::default();
    let tenant = fields.take("tenant", TenantId::parse_name(&request.tenant));
    let from = request.from.as_ref().map_or(Ok(now), time::parse);
    let from = fields.take("from", from.and_then(check_near));
    let until = |to: Time, from: Time| {
        let inside = to > from && to - from <= limits::PREVIEW;
        if inside { Ok(to) } else { Err("must lie after `from`, by at most 31 days".to_owned()) }
    };
    let to = match (&request.to, from) {
        (Some(to), Some(from)) => fields.take("to", time::parse(to).and_then(|to| until(to, from))),
        (Some(to), None) => fields.take("to", time::parse(to)),
        (None, from) => from.map(|from| from + limits::DEFAULT_PREVIEW),
    };
    let complete = || Some((tenant?, from?, to?));
    fields.finish(complete())
}

/// Far from the ends of time, so that adding days can't overflow.
fn check_near(from: Time) -> Result<Time, String> {
    let years = 1970..=9000;
    let year = chrono::Datelike::year(&from);
    if years.contains(&year) { Ok(from) } else { Err("must lie within the years 1970 to 9000".to_owned()) }
}

/// Writes a notification.
#[must_use]
pub fn write_notification(notification: &Notification) -> v1::Notification {
    let (kind, days_left, superseded_by) = match &notification.subject {
        Subject::KeyExpiring { days_left, .. } => (v1::NotificationKind::KeyExpiring, *days_left, String::new()),
        Subject::KeyExpired(_) => (v1::NotificationKind::KeyExpired, 0, String::new()),
        Subject::KeyRotated { key, successor } => {
            (v1::NotificationKind::KeyRotated, 0, key.name.sibling(*successor).to_string())
        }
        Subject::LastSubscriberGone => (v1::NotificationKind::LastSubscriberGone, 0, String::new()),
    };
    let key = notification.subject.key();
    v1::Notification {
        name: format!("{}/notifications/{}", notification.tenant.name(), notification.id),
        kind: kind.into(),
        key: key.map_or_else(String::new, |key| key.name.to_string()),
        key_display_name: key.map_or_else(String::new, |key| key.display_name.as_str().to_owned()),
        expire_time: key.map(|key| time::write(key.expire_time)),
        days_left: days_left.into(),
        superseded_by,
        create_time: Some(time::write(notification.create_time)),
        read_time: notification.read_time.map(time::write),
    }
}

/// Writes a delivery.
#[must_use]
pub fn write_delivery(delivery: &Delivery) -> v1::Delivery {
    let state = match delivery.state {
        DeliveryState::Pending => v1::DeliveryState::Pending,
        DeliveryState::Sending => v1::DeliveryState::Sending,
        DeliveryState::Sent => v1::DeliveryState::Sent,
        DeliveryState::Refused => v1::DeliveryState::Refused,
        DeliveryState::GivenUp => v1::DeliveryState::GivenUp,
        DeliveryState::Skipped => v1::DeliveryState::Skipped,
    };
    let waits = delivery.state == DeliveryState::Pending;
    v1::Delivery {
        name: format!("{}/deliveries/{}", delivery.tenant.name(), delivery.id),
        recipient: delivery.recipient.as_str().to_owned(),
        day: delivery.day.to_string(),
        state: state.into(),
        attempts: delivery.attempts.into(),
        answer: delivery.answer.clone(),
        message_id: delivery.message_id.clone(),
        key_count: number(delivery.key_count),
        next_attempt_time: waits.then(|| time::write(delivery.next_attempt_time)),
        create_time: Some(time::write(delivery.create_time)),
        update_time: Some(time::write(delivery.update_time)),
    }
}

/// Writes a preview.
#[must_use]
pub fn write_preview(tenant: &Tenant, preview: &Preview, without_mail: bool) -> v1::PreviewWarningsResponse {
    v1::PreviewWarningsResponse {
        days: preview.days.iter().map(|day| write_day(tenant, day)).collect(),
        recipients: preview.recipients.iter().map(|address| address.as_str().to_owned()).collect(),
        recipient_count: number(preview.recipient_count),
        without_subscribers: !preview.days.is_empty() && preview.recipient_count == 0,
        without_mail,
    }
}

fn write_day(tenant: &Tenant, day: &PreviewDay) -> v1::WarningDay {
    let warnings = day.keys.iter().map(|warned| v1::Warning {
        key: warned.key.name.to_string(),
        key_display_name: warned.key.display_name.as_str().to_owned(),
        expire_time: Some(time::write(warned.expire_time)),
        days_left: number(days_left(tenant.calendar.zone, day.day, warned.expire_time)),
    });
    v1::WarningDay {
        day: day.day.to_string(),
        time: Some(time::write(day.time)),
        warnings: warnings.collect(),
        key_count: number(day.key_count),
    }
}

/// Writes what a run did.
#[must_use]
pub fn write_report(report: &Report, without_mail: bool) -> v1::RunWarningsResponse {
    v1::RunWarningsResponse {
        planned: number(report.planned),
        claimed: number(report.claimed),
        sent: number(report.sent),
        refused: number(report.refused),
        retried: number(report.retried),
        skipped: number(report.skipped),
        left: number(report.left),
        without_subscribers: report.without_subscribers > 0,
        without_mail,
    }
}

fn number(count: impl TryInto<i32>) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}
