//! Credential files: a secret as a file to hand on (BluBracket's way, peers.md section 3, seed 004).

use serde_json::json;

use crate::domain::secret::Secret;
use crate::proto::v1::{CredentialFile, CredentialFileFormat};

use super::fields::Fields;

/// What a spreadsheet takes for the start of a formula (OWASP, "CSV Injection").
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// The formats of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An object.
    Json,
    /// Two lines.
    Csv,
}

/// Reads a `credential_file_format`; `Some(None)`: no file.
pub fn read(fields: &mut Fields, format: i32) -> Option<Option<Format>> {
    match CredentialFileFormat::try_from(format) {
        Ok(CredentialFileFormat::Unspecified) => Some(None),
        Ok(CredentialFileFormat::Json) => Some(Some(Format::Json)),
        Ok(CredentialFileFormat::Csv) => Some(Some(Format::Csv)),
        Err(_) => fields.take("credential_file_format", Err(format!("{format} is no format of a credential file"))),
    }
}

/// Writes the file of a secret that is presented to `host`.
#[must_use]
pub fn write(format: Format, host: &str, secret: &Secret) -> CredentialFile {
    let id = secret.key_id().to_string();
    let (key, token) = (secret.random_part(), secret.reveal());
    let (ending, media_type, content) = match format {
        Format::Json => {
            let file = json!({"api_keys": {host: {"id": id, "key": key, "token": token}}});
            ("json", "application/json", format!("{file:#}\n"))
        }
        Format::Csv => {
            ("csv", "text/csv", format!("host,id,key,token\r\n{}\r\n", [host, &id, key, token].map(cell).join(",")))
        }
    };
    CredentialFile { file_name: format!("claviger-{id}.{ending}"), media_type: media_type.to_owned(), content }
}

/// A value as RFC 4180 has it, and never a formula.
fn cell(value: &str) -> String {
    let guard = if value.starts_with(FORMULA_STARTS) { "'" } else { "" };
    let quoted = value.contains([',', '"', '\r', '\n']);
    if quoted { format!("\"{guard}{}\"", value.replace('"', "\"\"")) } else { format!("{guard}{value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_breaks_its_line() {
        let cells = ["plain", "=1+1", "-2", "@x", "+3", "\tx", "a,b", "say \"x\"", "=a,\"b\""].map(cell);
        let expected =
            ["plain", "'=1+1", "'-2", "'@x", "'+3", "'\tx", "\"a,b\"", "\"say \"\"x\"\"\"", "\"'=a,\"\"b\"\"\""];
        assert_eq!(cells, expected);
    }
}
