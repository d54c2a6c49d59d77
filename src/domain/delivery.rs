//! What becomes of one subscriber's mail of one day.

use uuid::Uuid;

use super::{
    Span, Time,
    address::MailAddress,
    calendar::Day,
    ids::{SubscriberId, TenantId},
    limits,
};

/// One subscriber's mail of one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// A version 7 UUID.
    pub id: Uuid,
    /// The tenant.
    pub tenant: TenantId,
    /// Who gets it.
    pub subscriber: SubscriberId,
    /// The address.
    pub recipient: MailAddress,
    /// The tenant's local day.
    pub day: Day,
    /// The instant whose warnings it lists: the warning instant, or that of an earlier RunWarnings.
    pub due_time: Time,
    /// The end of the day: it isn't tried any more.
    pub end_time: Time,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was claimed. Who claimed it as the nth settles it only while this is n.
    pub attempts: i16,
    /// When it is tried again, while PENDING; until when it belongs to who claimed it, while SENDING.
    pub next_attempt_time: Time,
    /// The mail server's last answer.
    pub answer: String,
    /// Its Message-ID; empty until it was tried.
    pub message_id: String,
    /// How many keys it warned about.
    pub key_count: i64,
    /// When it was planned.
    pub create_time: Time,
    /// When its state last changed.
    pub update_time: Time,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waits to be sent.
    Pending,
    /// Belongs to somebody who sends it.
    Sending,
    /// The mail server took it.
    Sent,
    /// The mail server refused it for good.
    Refused,
    /// The day ended first.
    GivenUp,
    /// It wasn't needed any more.
    Skipped,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Pending, Self::Sending, Self::Sent, Self::Refused, Self::GivenUp, Self::Skipped];

    /// Its name, as it is stored.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Sending => "SENDING",
            Self::Sent => "SENT",
            Self::Refused => "REFUSED",
            Self::GivenUp => "GIVEN_UP",
            Self::Skipped => "SKIPPED",
        }
    }
}

/// The pause after the `attempts`-th try: 1 min, doubled each time up to 1 h, and by chance up to a quarter shorter, so that
/// mails which failed together aren't tried again together.
#[must_use]
pub fn retry_after(attempts: i16, random: u8) -> Span {
    let doublings = u32::from(attempts.clamp(1, 16).unsigned_abs()) - 1;
    let pause = (limits::RETRY_FIRST * 2_i32.pow(doublings)).min(limits::RETRY_LONGEST);
    let shorter = pause.num_milliseconds() * i64::from(random) / 1024;
    pause - Span::milliseconds(shorter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_are_at_most_a_quarter_shorter() {
        assert_eq!(retry_after(1, 0), Span::minutes(1));
        assert_eq!(retry_after(4, 0), Span::minutes(8));
        assert_eq!(retry_after(i16::MAX, 0), Span::hours(1));
        assert_eq!(retry_after(i16::MIN, 0), Span::minutes(1));
        assert!(retry_after(1, 255) > Span::seconds(45));
        assert!(retry_after(9, 255) >= Span::minutes(45));
    }
}
