//! User groups: the people of a tenant, and who of them is told.

use std::collections::{HashMap, HashSet};

use super::{
    Refusal, Revision, Time, address::MailAddress, ids::UserGroupName, limits, refusal::FieldViolation,
    text::DisplayName,
};

/// People of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserGroup {
    /// Full name.
    pub name: UserGroupName,
    /// What people call it.
    pub display_name: DisplayName,
    /// Whether its members get the daily mail.
    pub account_alerts: bool,
    /// Who is in it, each address once.
    pub members: Vec<Member>,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// The revision of its last change.
    pub revision: Revision,
}

/// A person in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The mail address.
    pub address: MailAddress,
    /// What people call the person.
    pub display_name: Option<DisplayName>,
    /// Since when this address gets no mail, by its owner's wish.
    pub unsubscribe_time: Option<Time>,
    /// What the mail server said when it last refused the address; writing the list again forgets it.
    pub refusal: Option<AddressRefusal>,
}

/// What the mail server said when it last refused an address for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRefusal {
    /// Its words.
    pub answer: String,
    /// When.
    pub time: Time,
}

/// What a caller decides about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUserGroup {
    /// What people call it.
    pub display_name: DisplayName,
    /// Whether its members get the daily mail.
    pub account_alerts: bool,
    /// Who is in it.
    pub members: Vec<NewMember>,
}

/// A person as a caller writes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// The mail address.
    pub address: MailAddress,
    /// What people call the person.
    pub display_name: Option<DisplayName>,
    /// Whether the person stays, or becomes, unsubscribed.
    pub unsubscribed: bool,
}

/// An edit: `Some` for each field the mask names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserGroupEdit {
    /// `display_name`
    pub display_name: Option<DisplayName>,
    /// `account_alerts`
    pub account_alerts: Option<bool>,
    /// `members`
    pub members: Option<Vec<NewMember>>,
}

impl UserGroup {
    /// Makes a group from what a caller decided.
    pub fn create(name: UserGroupName, new: NewUserGroup, now: Time) -> Result<Self, Refusal> {
        let mut group = Self {
            name,
            display_name: new.display_name,
            account_alerts: new.account_alerts,
            members: Vec::new(),
            create_time: now,
            update_time: now,
            revision: 0,
        };
        group.set_members(new.members, now)?;
        Ok(group)
    }

    /// Edits a group; an edit that changes nothing leaves it as it is.
    pub fn edit(&self, edit: UserGroupEdit, now: Time) -> Result<Self, Refusal> {
        let mut edited = self.clone();
        edited.display_name = edit.display_name.unwrap_or(edited.display_name);
        edited.account_alerts = edit.account_alerts.unwrap_or(edited.account_alerts);
        if let Some(members) = edit.members {
            edited.set_members(members, now)?;
        }
        if edited != *self {
            edited.update_time = now;
        }
        Ok(edited)
    }

    /// Members who weren't in the group `before` and are written as subscribed.
    pub fn newcomers<'a>(&'a self, before: Option<&Self>) -> impl Iterator<Item = &'a MailAddress> {
        let known: HashSet<&str> = before
            .map_or_else(HashSet::new, |before| before.members.iter().map(|member| member.address.folded()).collect());
        let subscribed = self.members.iter().filter(|member| member.unsubscribe_time.is_none());
        subscribed.map(|member| &member.address).filter(move |address| !known.contains(address.folded()))
    }

    /// Keeps the wish of those who have unsubscribed in another group of the tenant, `since` by folded address: being put
    /// into one more group doesn't undo it.
    pub fn respect(&mut self, since: &HashMap<String, Time>) {
        for member in &mut self.members {
            let wish = since.get(member.address.folded()).copied();
            member.unsubscribe_time = member.unsubscribe_time.or(wish);
        }
    }

    /// Replaces the list. Whoever was unsubscribed and is written so again keeps the time of it.
    fn set_members(&mut self, members: Vec<NewMember>, now: Time) -> Result<(), Refusal> {
        check_distinct(&members)?;
        let since = |address: &MailAddress| {
            let before = self.members.iter().find(|member| member.address == *address);
            before.and_then(|member| member.unsubscribe_time).unwrap_or(now)
        };
        let members = members.into_iter().map(|member| Member {
            unsubscribe_time: member.unsubscribed.then(|| since(&member.address)),
            address: member.address,
            display_name: member.display_name,
            refusal: None,
        });
        self.members = members.collect();
        Ok(())
    }
}

const FIELD: &str = "user_group.members";

/// Each address once; at most 1,000.
fn check_distinct(members: &[NewMember]) -> Result<(), Refusal> {
    if members.len() > limits::USER_GROUP_MEMBERS {
        let why = format!("has {} entries; at most {} are allowed", members.len(), limits::USER_GROUP_MEMBERS);
        return Err(Refusal::Invalid(vec![FieldViolation::new(FIELD, why)]));
    }
    let violations = repeated(members.iter().map(|member| &member.address).enumerate());
    if violations.is_empty() { Ok(()) } else { Err(Refusal::Invalid(violations)) }
}

/// Names every entry of `user_group.members` whose address an earlier one has. Entries come with their index.
#[must_use]
pub fn repeated<'a>(addresses: impl IntoIterator<Item = (usize, &'a MailAddress)>) -> Vec<FieldViolation> {
    let mut seen = HashSet::new();
    let again = addresses.into_iter().filter(|(_, address)| !seen.insert(address.folded()));
    let why = "is in the list twice; write each address once";
    again.map(|(index, _)| FieldViolation::new(format!("{FIELD}[{index}].email"), why)).collect()
}
