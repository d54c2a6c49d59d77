//! Key groups: names for some keys of a tenant.

use super::{
    Revision, Time,
    ids::KeyGroupName,
    text::{Description, DisplayName},
};

/// A name for some keys of a tenant. Which ones, the keys say themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGroup {
    /// Full name.
    pub name: KeyGroupName,
    /// What people call it.
    pub display_name: DisplayName,
    /// What it is for.
    pub description: Description,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// The revision of its last change.
    pub revision: Revision,
}

/// An edit: `Some` for each field the mask names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyGroupEdit {
    /// `display_name`
    pub display_name: Option<DisplayName>,
    /// `description`
    pub description: Option<Description>,
}

impl KeyGroup {
    /// Makes a group.
    #[must_use]
    pub fn create(name: KeyGroupName, display_name: DisplayName, description: Description, now: Time) -> Self {
        Self { name, display_name, description, create_time: now, update_time: now, revision: 0 }
    }

    /// Edits a group; an edit that changes nothing leaves it as it is.
    #[must_use]
    pub fn edit(&self, edit: KeyGroupEdit, now: Time) -> Self {
        let mut edited = self.clone();
        edited.display_name = edit.display_name.unwrap_or(edited.display_name);
        edited.description = edit.description.unwrap_or(edited.description);
        if edited != *self {
            edited.update_time = now;
        }
        edited
    }
}
