//! Collects every wrong field of a request, so that a caller is told all at once.

use crate::domain::{Refusal, refusal::FieldViolation};

/// The wrong fields so far.
#[derive(Default)]
pub struct Fields {
    violations: Vec<FieldViolation>,
}

impl Fields {
    /// Takes a parsed field, or notes what is wrong with it.
    pub fn take<T>(&mut self, field: &str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|why| self.violations.push(FieldViolation::new(field, why))).ok()
    }

    /// Notes wrong fields that were found by a rule over several.
    pub fn refuse(&mut self, violations: Vec<FieldViolation>) {
        self.violations.extend(violations);
    }

    /// Takes a list of parsed entries, each named by its index.
    pub fn take_all<'a, T>(
        &mut self,
        field: &str,
        most: usize,
        texts: &'a [String],
        parse: impl Fn(&'a str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        if texts.len() > most {
            return self.take(field, Err(format!("has {} entries; at most {most} are allowed", texts.len())));
        }
        let mut parsed = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match parse(text) {
                Ok(entry) => parsed.push(entry),
                Err(why) => self.violations.push(FieldViolation::new(format!("{field}[{index}]"), why)),
            }
        }
        (parsed.len() == texts.len()).then_some(parsed)
    }

    /// The value, when every field was right; the refusal that names each wrong one otherwise.
    /// `value` must be `None` only after a field was refused.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Refusal> {
        match value {
            Some(value) if self.violations.is_empty() => Ok(value),
            _ => Err(Refusal::Invalid(self.violations)),
        }
    }
}
