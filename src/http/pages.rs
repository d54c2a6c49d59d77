//! What people see who follow a link of a mail. The same for everybody: no address, no tenant, nothing of a request.

const SHELL: &str = include_str!("page.html");
const ASK_AGAIN: &str = "<p>To get them again, ask whoever manages your API keys.</p>";

/// What will happen, and the button.
#[must_use]
pub fn ask() -> String {
    let text = "<p>You will get no more mails about expiring API keys of this account. The keys, and the mails to everybody \
                else, stay as they are.</p>";
    page("Stop these mails?", &format!("{text}{ASK_AGAIN}{}", form("Unsubscribe")))
}

/// It is done, now or before.
#[must_use]
pub fn done() -> String {
    let text = "<p>You will get no more mails about expiring API keys of this account. One that is on its way may still \
                arrive.</p>";
    page("You are unsubscribed", &format!("{text}{ASK_AGAIN}"))
}

/// The link isn't one of ours, or not any more.
#[must_use]
pub fn invalid() -> String {
    let text = "<p>Maybe it is incomplete, maybe it isn’t valid any more. Open it from the mail again; if that doesn’t help, \
                ask whoever manages your API keys.</p>";
    page("This link isn’t valid", text)
}

/// It couldn't be done now.
#[must_use]
pub fn later() -> String {
    let text = "<p>You are not unsubscribed yet. Please try again in a minute.</p>";
    page("That didn’t work just now", &format!("{text}{}", form("Try again")))
}

/// Leads back to where it is shown, also behind a proxy that cuts off a part of the path.
fn form(button: &str) -> String {
    format!("<form method=\"post\"><button type=\"submit\">{button}</button></form>")
}

fn page(title: &str, content: &str) -> String {
    SHELL.replace("{{title}}", title).replace("{{content}}", content)
}
