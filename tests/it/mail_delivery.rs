//! What becomes of each mail, whatever the mail server does: one to every good recipient, and every bad one to be seen.

mod answers;
mod check_again;
mod connections;
mod days;
mod several;
mod tls;
