//! Asks Claviger about one secret and prints the verdict: `verify KEY_FILE SECRET`.
//!
//! KEY_FILE holds the caller's own key, which needs the right `claviger:verify`. A service keeps one `Verifier`, and most of
//! its questions are answered from memory.

use claviger::client::{Options, Verifier, VerifyError};
use tonic::transport::Endpoint;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [key_file, secret] = arguments.as_slice() else { return Err("usage: verify KEY_FILE SECRET".into()) };
    let own_secret = std::fs::read_to_string(key_file)?;

    let channel = Endpoint::from_static("http://127.0.0.1:50051").connect_lazy();
    let verifier = Verifier::new(channel, own_secret.trim_end(), &Options::default())?;
    match verifier.verify(secret, None, &["invoices:read"]).await {
        Ok(identity) => println!("VERDICT_VALID: {}", identity.service_user),
        Err(VerifyError::Refused { verdict, .. }) => println!("{}", verdict.as_str_name()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
