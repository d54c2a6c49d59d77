//! What becomes of a delivery: claim, check again, send, settle. As many at once as there are connections, each by a worker
//! that settles one mail before it claims the next: a crash repeats at most one mail for each worker, with the same
//! Message-ID (zero is impossible: RFC 1047).

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use crate::domain::{
    Time,
    delivery::{Delivery, DeliveryState, retry_after},
    ids::TenantId,
    limits,
    notification::Notification,
};
use crate::metrics::MailResult;
use crate::random;
use crate::store::{Bookkeeping, Claimed, SentMail, Settlement, StoreError, Wanted};

use super::{
    PostOffice, Report, Warnings, WarningsError,
    mailer::Sending,
    round::{Letter, Round},
};

const SETTLE_PAUSE: Duration = Duration::from_secs(1);

/// What an attempt came to.
enum Outcome {
    /// Settle it so.
    Settled(Settlement, MailResult),
    /// Somebody else has it now.
    Lost,
}

impl Warnings {
    /// Gives up what is of an earlier day.
    pub(super) async fn give_up(&self) -> Result<(), WarningsError> {
        loop {
            let bookkeeping = self.shared.store.bookkeeping().await?;
            let given_up = bookkeeping.give_up_deliveries(self.shared.clock.now()).await?;
            bookkeeping.commit().await?;
            self.shared.metrics.mails(MailResult::GivenUp, given_up);
            if given_up > 0 {
                tracing::warn!(mails = given_up, "the day ended before the mail server took them");
            }
            if given_up < limits::PLAN_PAGE {
                return Ok(());
            }
        }
    }

    /// Sends what is due, of one tenant or of all, until `deadline` at most.
    pub(super) async fn send_due(
        &self,
        tenant: Option<&TenantId>,
        deadline: Instant,
        report: &mut Report,
    ) -> Result<(), WarningsError> {
        let Some(post) = &self.shared.post else { return Ok(()) };
        let round = Round::new(post, tenant, deadline, *report);
        // All of them to their end: a worker that was dropped while it sends would leave a mail to be sent again.
        let ends = join_all((0..post.connections).map(|_| self.work(&round))).await;
        post.mailer.hang_up();
        *report = round.report();
        report.left = self.shared.store.open_deliveries(tenant, self.shared.clock.now()).await?;
        if tenant.is_none() {
            self.shared.metrics.waiting(report.left);
        }
        if let Some(answer) = round.trouble() {
            tracing::error!(answer, waiting = report.left, "the mail server can't be used as it is; mails wait for it");
        }
        ends.into_iter().collect()
    }

    /// Has a connection before it claims anything. An error in between leaves one mail to the end of its claim, not the
    /// others to the next run.
    async fn work(&self, round: &Round<'_>) -> Result<(), WarningsError> {
        let free = timeout_at(round.deadline(), round.post.free_connections.acquire()).await;
        let Ok(Ok(_connection)) = free else { return Ok(()) };
        let mut outcome = Ok(());
        let mut next = self.claim_one(round).await?;
        while let Some(claimed) = next {
            next = match self.attempt(round, &claimed).await {
                Ok(Outcome::Settled(settlement, result)) => self.settle(round, &claimed, &settlement, result).await?,
                Ok(Outcome::Lost) => self.claim_one(round).await?,
                Err(error) => {
                    round.note_failure();
                    outcome = outcome.and(Err(error));
                    self.claim_one(round).await?
                }
            };
        }
        outcome
    }

    async fn claim_one(&self, round: &Round<'_>) -> Result<Option<Claimed>, WarningsError> {
        if self.is_over(round) {
            return Ok(None);
        }
        let bookkeeping = self.shared.store.bookkeeping().await?;
        let claimed = self.claim_within(&bookkeeping, round).await?;
        bookkeeping.commit().await?;
        round.count(|report| report.claimed += u64::from(claimed.is_some()));
        Ok(claimed)
    }

    async fn claim_within(&self, bookkeeping: &Bookkeeping, round: &Round<'_>) -> Result<Option<Claimed>, StoreError> {
        if self.is_over(round) {
            return Ok(None);
        }
        let now = self.shared.clock.now();
        bookkeeping.claim_delivery(round.tenant, now, now + limits::DELIVERY_LEASE).await
    }

    async fn attempt(&self, round: &Round<'_>, claimed: &Claimed) -> Result<Outcome, WarningsError> {
        let delivery = match &claimed.content {
            Ok(delivery) => delivery,
            Err(error) => {
                tracing::error!(%error, "a delivery can't be understood; it is given up");
                return Ok(self.without_mail(DeliveryState::GivenUp, "its row can't be understood; see the log"));
            }
        };
        let now = self.shared.clock.now();
        match self.shared.store.still_wanted(delivery, now).await? {
            Wanted::Yes => {}
            Wanted::NotOurs => return Ok(Outcome::Lost),
            Wanted::NotSubscribed => {
                return Ok(self.without_mail(DeliveryState::Skipped, "not a subscriber any more"));
            }
        }
        match round.letter(&self.shared.store, delivery, now).await {
            Ok(Some(letter)) => self.send(round, delivery, &letter).await,
            Ok(None) => Ok(self.without_mail(DeliveryState::Skipped, "no key is about to expire any more")),
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "a mail can't be written; it is given up");
                Ok(self.without_mail(DeliveryState::GivenUp, "its tenant can't be understood; see the log"))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn send(&self, round: &Round<'_>, delivery: &Delivery, letter: &Letter) -> Result<Outcome, WarningsError> {
        let PostOffice { letterhead, mailer, .. } = round.post;
        let subscriber = &delivery.subscriber;
        let one_click = round.post.one_click(subscriber);
        let Letter { digest, words } = letter;
        let addressed = match words {
            Ok(words) => letterhead
                .address(words, digest, &delivery.recipient, subscriber, one_click.as_deref())
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let mail = match addressed {
            Ok(mail) => mail,
            Err(error) => {
                tracing::error!(tenant = %delivery.tenant, %error, "a mail can't be written; it is given up");
                return Ok(self.without_mail(DeliveryState::GivenUp, "it can't be written; see the log"));
            }
        };
        let [chance] = random::bytes()?;
        let sending = mailer.send(mail).await;
        round.note(&sending);
        let (settlement, result) = self.settlement(delivery, sending, chance);
        let message_id = letterhead.message_id(subscriber, delivery.day);
        let key_count = i64::try_from(digest.key_count).unwrap_or(i64::MAX);
        Ok(Outcome::Settled(Settlement { mail: Some(SentMail { message_id, key_count }), ..settlement }, result))
    }

    /// What isn't taken today isn't tried tomorrow.
    fn settlement(&self, delivery: &Delivery, sending: Sending, chance: u8) -> (Settlement, MailResult) {
        let now = self.shared.clock.now();
        let retry = now + retry_after(delivery.attempts, chance);
        let (state, result, answer) = match sending {
            Sending::Taken(answer) => (DeliveryState::Sent, MailResult::Sent, answer),
            Sending::Refused(answer) => (DeliveryState::Refused, MailResult::Refused, answer),
            Sending::NotNow(answer) | Sending::Trouble(answer) if retry >= delivery.end_time => {
                (DeliveryState::GivenUp, MailResult::GivenUp, answer)
            }
            Sending::NotNow(answer) | Sending::Trouble(answer) => (DeliveryState::Pending, MailResult::Retried, answer),
        };
        let next_attempt_time = if state == DeliveryState::Pending { retry } else { now };
        (Settlement { state, next_attempt_time, answer, mail: None }, result)
    }

    /// Settles one and claims the next, in one step. Tried again while the database is away: a mail that is sent and not
    /// settled would be sent again.
    async fn settle(
        &self,
        round: &Round<'_>,
        claimed: &Claimed,
        settlement: &Settlement,
        result: MailResult,
    ) -> Result<Option<Claimed>, WarningsError> {
        let patience = Instant::now() + limits::SETTLE_PATIENCE;
        let next = loop {
            match self.try_settle(round, claimed, settlement).await {
                Ok(next) => break next,
                Err(error) if Instant::now() > patience || self.shared.stop.is_cancelled() => return Err(error),
                Err(error) => tracing::warn!(%error, "the outcome of a mail could not be written; it is tried again"),
            }
            sleep(SETTLE_PAUSE).await;
        };
        self.shared.metrics.mails(result, 1);
        round.count(|report| {
            report.claimed += u64::from(next.is_some());
            match result {
                MailResult::Sent => report.sent += 1,
                MailResult::Refused => report.refused += 1,
                MailResult::Retried => report.retried += 1,
                MailResult::Skipped => report.skipped += 1,
                MailResult::GivenUp => {}
            }
        });
        Ok(next)
    }

    async fn try_settle(
        &self,
        round: &Round<'_>,
        claimed: &Claimed,
        settlement: &Settlement,
    ) -> Result<Option<Claimed>, WarningsError> {
        let now = self.shared.clock.now();
        let bookkeeping = self.shared.store.bookkeeping().await?;
        let ours = bookkeeping.settle_delivery(claimed, settlement, now).await?;
        if let (true, Ok(delivery)) = (ours, &claimed.content) {
            note_refusal(&bookkeeping, claimed.refusals, delivery, settlement, now).await?;
        }
        let next = self.claim_within(&bookkeeping, round).await?;
        bookkeeping.commit().await?;
        Ok(next)
    }

    fn without_mail(&self, state: DeliveryState, why: &str) -> Outcome {
        let result = if state == DeliveryState::Skipped { MailResult::Skipped } else { MailResult::GivenUp };
        let next_attempt_time = self.shared.clock.now();
        Outcome::Settled(Settlement { state, next_attempt_time, answer: why.to_owned(), mail: None }, result)
    }

    fn is_over(&self, round: &Round<'_>) -> bool {
        self.shared.stop.is_cancelled() || Instant::now() >= round.deadline() || round.has_failed()
    }
}

/// Remembers that an address was refused for good, or that it is good again. Who is refused too often is no subscriber any
/// more; the last one doesn't go in silence.
async fn note_refusal(
    bookkeeping: &Bookkeeping,
    refusals: i16,
    delivery: &Delivery,
    settlement: &Settlement,
    now: Time,
) -> Result<(), WarningsError> {
    if settlement.state == DeliveryState::Refused {
        bookkeeping.note_refusal(&delivery.subscriber, Some(&settlement.answer), now).await?;
        let is_last_straw = refusals + 1 == limits::REFUSALS;
        if is_last_straw && !bookkeeping.has_subscribers(&delivery.tenant).await? {
            let gone = Notification::last_subscriber_gone(delivery.tenant.clone(), random::bytes()?, now);
            bookkeeping.notify(&[gone]).await?;
        }
    }
    if settlement.state == DeliveryState::Sent && refusals > 0 {
        bookkeeping.note_refusal(&delivery.subscriber, None, now).await?;
    }
    Ok(())
}
