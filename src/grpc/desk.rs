//! What every control-plane service does around a use case: let the call in, turn an error into a status, keep pages.

use prost::Message;
use tonic::{Request, Status};

use crate::authority::{Authority, AuthorityError, call::Call};
use crate::domain::{
    limits,
    page::{Binding, Page, PageTokens, Paged, parse_page_size},
    rights::Right,
};

use super::{
    caller::{Gate, Opening},
    convert::fields::Fields,
};

/// The use cases, with the gate before them.
#[derive(Clone)]
pub struct Desk {
    gate: Gate,
    authority: Authority,
}

impl Desk {
    /// A desk.
    #[must_use]
    pub fn new(gate: Gate, authority: Authority) -> Self {
        Self { gate, authority }
    }

    /// The use cases.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Lets a call in whose caller has at least one of `rights`, the weakest last.
    pub async fn admit<T>(&self, request: &Request<T>, method: &'static str, rights: &[Right]) -> Result<Call, Status> {
        self.gate.admit(Opening::of(request), method, rights).await
    }

    /// The outcome of a conversion or a use case, its error as a status.
    pub fn answer<T>(&self, call: &Call, outcome: Result<T, impl Into<AuthorityError>>) -> Result<T, Status> {
        outcome.map_err(|error| self.gate.refuse(call, &error.into()))
    }

    /// A list that `call` asks for. `filter`: every field of the request but page_size and page_token, in order.
    #[must_use]
    pub fn listing<'a>(&'a self, call: &'a Call, filter: Vec<String>) -> Listing<'a> {
        Listing { tokens: self.authority.page_tokens(), call, filter }
    }
}

/// A list being read page by page.
pub struct Listing<'a> {
    tokens: &'a PageTokens,
    call: &'a Call,
    filter: Vec<String>,
}

impl Listing<'_> {
    /// Reads `page_size` and `page_token`.
    pub fn page(&self, fields: &mut Fields, page_size: i32, page_token: &str) -> Option<Page> {
        let size = fields.take("page_size", parse_page_size(page_size));
        let after = fields.take("page_token", self.tokens.open(self.binding(), page_token));
        Some(Page { size: size?, after: after? })
    }

    /// Writes a page as messages, and its `next_page_token`, empty on the last page. A page that would outgrow a message is
    /// cut shorter. `id` is what the list is ordered by.
    pub fn write<T, M: Message>(
        &self,
        paged: Paged<T>,
        id: impl Fn(&T) -> String,
        write: impl Fn(T) -> M,
    ) -> (Vec<M>, String) {
        let (mut messages, mut bytes, mut last, mut next) = (Vec::new(), 0, None, paged.next);
        for entry in paged.entries {
            let entry_id = id(&entry);
            let message = write(entry);
            bytes += message.encoded_len();
            if bytes > limits::PAGE_BYTES && last.is_some() {
                next = last;
                break;
            }
            messages.push(message);
            last = Some(entry_id);
        }
        (messages, next.map_or_else(String::new, |after| self.tokens.seal(self.binding(), &after)))
    }

    fn binding(&self) -> Binding<'_> {
        Binding { caller: &self.call.caller.credential, method: self.call.method, filter: &self.filter }
    }
}
