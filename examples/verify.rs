//! Asks Claviger about one secret and prints the verdict: `verify KEY_FILE SECRET`.
//!
//! KEY_FILE holds the caller's own key, which needs the right `claviger:verify`.

use std::time::Duration;

use claviger::proto::v1::{VerifyRequest, verification_service_client::VerificationServiceClient};
use tonic::Request;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [key_file, secret] = arguments.as_slice() else { return Err("usage: verify KEY_FILE SECRET".into()) };
    let bearer = format!("Bearer {}", std::fs::read_to_string(key_file)?.trim_end());

    let mut client = VerificationServiceClient::connect("http://127.0.0.1:50051").await?;
    let mut request = Request::new(VerifyRequest { secret: secret.clone(), ..Default::default() });
    request.metadata_mut().insert("authorization", bearer.parse()?);
    request.set_timeout(Duration::from_secs(1));
    println!("{}", client.verify(request).await?.get_ref().verdict().as_str_name());
    Ok(())
}
